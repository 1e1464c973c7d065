package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"descant/cmd/descant/systemtest"
	"descant/models"
	"descant/pkg/bus"
	"descant/pkg/hub"
	"descant/pkg/openai"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/services/tokenizer"
)

// startTokenizer runs a tokenizer on the gateway's bus until the test ends, and waits until it answers.
func startTokenizer(t *testing.T, g *Gateway) {
	t.Helper()
	builtin, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	options := hub.Options{Config: hub.Config{Offline: true, CacheDir: t.TempDir(), WorkDir: t.TempDir()}, Builtin: builtin}
	s, err := tokenizer.New(tokenizer.Config{Concurrency: 1, WorkDir: t.TempDir()}, tokenizer.Deps{Bus: g.deps.Bus, Objects: g.deps.Objects,
		Bases: registry.HubBases{Options: options}, Worker: "t-1", Version: "0.0.0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("tokenizer: %v", err)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		err := g.deps.Bus.Call(t.Context(), "tokenizer.survey", &pb.LookRequest{Dataset: "builtin:sample"}, new(pb.SurveyResponse))
		if err == nil {
			return
		}
		if !errors.Is(err, bus.ErrNoResponders) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// shownRow is a row of a preview.
type shownRow struct {
	Row, Line, Length, Trained, Cut int
	Shape                           string
	Tokens                          []struct{ Text, Use string }
}

// trained is the text of the tokens that are trained.
func (r shownRow) trained() string {
	var b strings.Builder
	for _, t := range r.Tokens {
		if t.Use == "trained" {
			b.WriteString(t.Text)
		}
	}
	return b.String()
}

func TestRowsAreShown(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	server := httptest.NewServer(g.apiHandler())
	t.Cleanup(server.Close)
	c := apiClient{systemtest.CheckAPI(t, server.URL), t}
	var file openai.File
	c.upload("rows.jsonl", twoRows, map[string]string{"purpose": "fine-tune"}, http.StatusOK, &file)
	preview, survey := "/v1/descant/files/"+file.ID+"/preview?model=builtin:tiny", "/v1/descant/files/"+file.ID+"/survey"
	var why failure
	c.get(preview, http.StatusServiceUnavailable, &why)
	why.is(t, "", "no_worker")
	startTokenizer(t, g)

	var shown struct {
		Rows    []shownRow
		HasMore bool `json:"has_more"`
	}
	c.get(preview+"&loss_on=completion", http.StatusOK, &shown)
	if len(shown.Rows) != 2 || shown.HasMore {
		t.Fatalf("rows %+v", shown)
	}
	for i, want := range []string{"b", "d"} {
		r := shown.Rows[i]
		if r.Row != i+1 || r.Line != i+1 || r.Length != len(r.Tokens) || r.Cut != 0 || r.Trained >= r.Length || !strings.HasPrefix(r.trained(), want) || strings.Contains(r.trained(), "user") {
			t.Errorf("row %d is %+v, of which %q is trained", i+1, r, r.trained())
		}
	}
	whole := shown.Rows[1]
	c.get(preview+"&limit=1&row=2", http.StatusOK, &shown)
	if len(shown.Rows) != 1 || shown.HasMore || shown.Rows[0].Row != 2 || shown.Rows[0].Trained <= whole.Trained {
		t.Errorf("the second row, all of it trained: %+v", shown)
	}
	if c.get(preview+"&limit=1&max_length=8", http.StatusOK, &shown); len(shown.Rows) != 1 || !shown.HasMore || shown.Rows[0].Cut != shown.Rows[0].Length-8 {
		t.Errorf("the first row, cut: %+v", shown)
	}

	var seen struct {
		Survey struct {
			Report    struct{ Rows int }
			Languages map[string]int
			Tokens    *struct{ Tokens int }
		}
	}
	if c.get(survey, http.StatusOK, &seen); seen.Survey.Report.Rows != 2 || seen.Survey.Tokens != nil {
		t.Errorf("survey %+v", seen)
	}
	if c.get(survey+"?model=builtin:tiny", http.StatusOK, &seen); seen.Survey.Tokens == nil || seen.Survey.Tokens.Tokens < 10 {
		t.Errorf("survey with a base %+v", seen)
	}
	for path, want := range map[string]struct {
		status      int
		param, code string
	}{
		"/v1/descant/files/none/survey":                           {http.StatusNotFound, "id", "not_found"},
		"/v1/descant/files/" + file.ID + "/preview":               {http.StatusBadRequest, "model", openai.CodeMissingParameter},
		"/v1/descant/files/" + file.ID + "/preview?model=no/base": {http.StatusNotFound, "", "model_not_found"},
		preview + "&max_length=7":                                 {http.StatusBadRequest, "max_length", "bad_request"},
		preview + "&loss_on=some":                                 {http.StatusBadRequest, "loss_on", "bad_request"},
		preview + "&limit=21":                                     {http.StatusBadRequest, "limit", "bad_request"},
		preview + "&row=0":                                        {http.StatusBadRequest, "row", openai.CodeInvalidValue},
		survey + "?row=1":                                         {http.StatusBadRequest, "row", openai.CodeUnknownParameter},
	} {
		var why failure
		c.get(path, want.status, &why)
		why.is(t, want.param, want.code)
	}
}

func TestAdaptersOverHTTP(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	server := httptest.NewServer(g.apiHandler())
	t.Cleanup(server.Close)
	c := apiClient{systemtest.CheckAPI(t, server.URL), t}
	var none struct{ Adapters, Workers []json.RawMessage }
	if c.get("/v1/descant/adapters", http.StatusOK, &none); len(none.Adapters) != 0 {
		t.Errorf("adapters %s", none.Adapters)
	}
	if c.get("/v1/descant/workers", http.StatusOK, &none); len(none.Workers) != 0 {
		t.Errorf("workers %s", none.Workers)
	}
	first := publish(t, g, "support", "org/base", "one")
	publish(t, g, "support", "org/base", "two")
	if err := g.deps.Bus.PutAdvert(t.Context(), &pb.WorkerAdvert{Id: "w-1", Ready: true, Bases: []*pb.BaseAdvert{{Base: "org/base", Digest: "sha256:org/base", Rows: 8, FreeRows: 3}},
		Adapters: []*pb.AdapterState{{Digest: first.Version.GetDigest(), Name: "support", Version: 1, State: "ready"}}}); err != nil {
		t.Fatal(err)
	}
	var list struct {
		Adapters []struct {
			Name     string
			Versions []struct{ Version int }
		}
	}
	if c.get("/v1/descant/adapters", http.StatusOK, &list); len(list.Adapters) != 1 || len(list.Adapters[0].Versions) != 2 {
		t.Errorf("adapters %+v", list)
	}
	var one struct {
		Manifest struct{ Base string }
		Workers  []struct{ Worker string }
	}
	if c.get("/v1/descant/adapters/support@1", http.StatusOK, &one); one.Manifest.Base != "org/base" || len(one.Workers) != 1 || one.Workers[0].Worker != "w-1" {
		t.Errorf("support@1 %+v", one)
	}
	var workers struct {
		Workers []struct {
			ID    string
			Bases []struct {
				FreeRows int `json:"free_rows"`
			}
		}
	}
	if c.get("/v1/descant/workers", http.StatusOK, &workers); len(workers.Workers) != 1 || workers.Workers[0].ID != "w-1" || workers.Workers[0].Bases[0].FreeRows != 3 {
		t.Errorf("workers %+v", workers)
	}

	var entry struct {
		Aliases  map[string]int
		Canaries map[string]struct{ Version, Share int }
	}
	if c.post("/v1/descant/adapters/support@1/promote", `{}`, http.StatusOK, &entry); entry.Aliases["prod"] != 1 {
		t.Errorf("promoted %+v", entry)
	}
	if c.post("/v1/descant/adapters/support@2/promote", `{"alias":"prod","weight":12.5}`, http.StatusOK, &entry); entry.Canaries["prod"].Version != 2 || entry.Canaries["prod"].Share != 1250 {
		t.Errorf("split %+v", entry)
	}
	entry.Canaries = nil
	if c.post("/v1/descant/adapters/support/rollback", `{"alias":"prod"}`, http.StatusOK, &entry); entry.Aliases["prod"] != 1 || entry.Canaries != nil {
		t.Errorf("rolled back %+v", entry)
	}
	var held struct{ Pins []string }
	if c.post("/v1/descant/adapters/support@prod/pin", "", http.StatusOK, &held); !slices.Equal(held.Pins, []string{"prod"}) {
		t.Errorf("pinned %+v", held)
	}
	held.Pins = nil
	if c.post("/v1/descant/adapters/support@prod/unpin", "", http.StatusOK, &held); held.Pins != nil {
		t.Errorf("unpinned %+v", held)
	}
	for path, want := range map[string]struct {
		body, param, code string
		status            int
	}{
		"/v1/descant/adapters/support@9/pin":        {"", "adapter", "not_found", http.StatusNotFound},
		"/v1/descant/adapters/none/unpin":           {"", "adapter", "not_found", http.StatusNotFound},
		"/v1/descant/adapters/support@1/promote":    {`{"weigth":10}`, "weigth", openai.CodeUnknownParameter, http.StatusBadRequest},
		"/v1/descant/adapters/support@2/promote":    {`{"weight":"10%"}`, "weight", openai.CodeInvalidValue, http.StatusBadRequest},
		"/v1/descant/adapters/supports/promote":     {`{}`, "adapter", "not_found", http.StatusNotFound},
		"/v1/descant/adapters/none/rollback":        {`{}`, "adapter", "not_found", http.StatusNotFound},
		"/v1/descant/adapters/No%20name@1/rollback": {`{}`, "adapter", "not_found", http.StatusNotFound},
		"/v1/descant/adapters/support/rollback":     {`{"alias":"prod"}`, "", "bad_request", http.StatusBadRequest},
	} {
		var why failure
		c.post(path, want.body, want.status, &why)
		why.is(t, want.param, want.code)
	}
}

func TestAdapterFiles(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	server := httptest.NewServer(g.apiHandler())
	t.Cleanup(server.Close)
	c := apiClient{systemtest.CheckAPI(t, server.URL), t}
	publishFiles(t, g, "support", "org/base", map[string]string{"adapter_config.json": "{}", "adapter_model.safetensors": "one", "report.html": "<p>losses</p>"})
	for name, want := range map[string][2]string{"report.html": {"text/html; charset=utf-8", ""}, "adapter_config.json": {"application/octet-stream", "attachment; filename=adapter_config.json"}} {
		response, err := http.Get(c.url + "/v1/descant/adapters/support/files/" + name)
		if err != nil {
			t.Fatal(err)
		}
		head := response.Header
		if response.Body.Close() != nil || response.StatusCode != http.StatusOK || head.Get("Content-Type") != want[0] || head.Get("Content-Disposition") != want[1] ||
			!strings.HasPrefix(head.Get("Content-Security-Policy"), "sandbox;") || head.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", name, response.StatusCode, head)
		}
	}
	var why failure
	c.get("/v1/descant/adapters/support/files/report.png", http.StatusNotFound, &why)
	why.is(t, "file", "not_found")
	if !strings.Contains(why.Error.Message, "report.html") {
		t.Errorf("message %q", why.Error.Message)
	}
}
