package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"descant/cmd/descant/systemtest"
	"descant/pkg/openai"
)

func TestLoadedAdapters(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	server := httptest.NewServer(g.apiHandler())
	t.Cleanup(server.Close)
	c := apiClient{systemtest.CheckAPI(t, server.URL), t}
	first, second := publish(t, g, "support", "org/base", "one"), publish(t, g, "support", "org/base", "two")
	say := func(path, body, want string) {
		t.Helper()
		response, err := http.Post(c.url+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK || string(text) != want {
			t.Errorf("%s %s: %d %s, %v", path, body, response.StatusCode, text, err)
		}
	}
	refuse := func(path, body string, status int, param, code string) {
		t.Helper()
		var why failure
		c.post(path, body, status, &why)
		why.is(t, param, code)
	}
	const load, unload = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"

	say(load, `{"lora_name":"tenant","lora_path":"support@1"}`, "Success: LoRA adapter 'tenant' added successfully.")
	found, err := g.deps.Registry.Resolve(t.Context(), "tenant")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := g.deps.Registry.Manifest(t.Context(), found.Version)
	if err != nil || manifest.GetLoadedFrom() != "support@"+first.Version.GetDigest() || manifest.GetBase() != "org/base" || len(manifest.GetFiles()) != 2 || found.Version.GetSize() != first.Version.GetSize() {
		t.Errorf("loaded %v, %v", manifest, err)
	}
	refuse(load, `{"lora_name":"tenant","lora_path":"support@2"}`, http.StatusBadRequest, "lora_name", "conflict")
	say(load, `{"lora_name":"tenant","lora_path":"support@2","load_inplace":true}`, "Success: LoRA adapter 'tenant' added successfully.")
	if m, err := g.model(t.Context(), "tenant"); err != nil || m.GetVersion() != 2 || m.GetParent() != "org/base" {
		t.Errorf("replaced: %v, %v", m, err)
	}
	// A trained adapter is neither replaced nor taken away by clients that load.
	refuse(load, `{"lora_name":"support","lora_path":"tenant","load_inplace":true}`, http.StatusBadRequest, "lora_name", "conflict")
	refuse(unload, `{"lora_name":"support"}`, http.StatusBadRequest, "lora_name", "conflict")

	say(unload, `{"lora_name":"tenant"}`, "Success: LoRA adapter 'tenant' removed successfully.")
	refuse(unload, `{"lora_name":"tenant"}`, http.StatusNotFound, "lora_name", "not_found")
	if _, err := g.model(t.Context(), "tenant"); err == nil {
		t.Error("it answers still")
	}
	if m, err := g.model(t.Context(), "support"); err != nil || m.GetDigest() != second.Version.GetDigest() {
		t.Errorf("what it was loaded from: %v, %v", m, err)
	}
	say(load, `{"lora_name":"tenant","lora_path":"support@1"}`, "Success: LoRA adapter 'tenant' added successfully.")
	if again, err := g.deps.Registry.Resolve(t.Context(), "tenant"); err != nil || again.Version.GetVersion() != 3 || again.Version.GetDigest() == found.Version.GetDigest() {
		t.Errorf("loaded again: %v, %v", again, err)
	}

	refuse(load, `{"lora_name":"x"}`, http.StatusBadRequest, "lora_path", openai.CodeMissingParameter)
	refuse(load, `{"lora_name":"x","lora_path":"/models/adapter"}`, http.StatusNotFound, "lora_path", "not_found")
	refuse(load, `{"lora_name":"No good","lora_path":"support@1"}`, http.StatusBadRequest, "lora_name", "bad_request")
	refuse(load, `{"lora_name":"x","lora_path":"support@1","base_model_name":"org/base"}`, http.StatusBadRequest, "base_model_name", openai.CodeUnsupportedParameter)
	refuse(unload, `{"lora_name":"none"}`, http.StatusNotFound, "lora_name", "not_found")
	refuse(unload, `{"lora_name":"x","lora_int_id":1}`, http.StatusBadRequest, "lora_int_id", openai.CodeUnsupportedParameter)
}
