package inference

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"descant/pkg/generate"
	"descant/pkg/lifecycle"
	"descant/pkg/openai"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// TestMetricsOfTheModelServerProtocol: the names, types and labels that gateways of Kubernetes read.
func TestMetricsOfTheModelServerProtocol(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.WorkDir, cfg.MaxRows, cfg.Slots = t.TempDir(), 1, 4
	s, err := New(cfg, Deps{Worker: "w", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	m, engine := fakeServed(registry.Base{Ref: "base", Digest: "b"})
	engine.stats = generate.Stats{Compilations: 2, PromptTokens: 7, CachedTokens: 5, DraftedTokens: 4, AcceptedTokens: 3}
	m.gate = newGate(cfg)
	s.pool = newPool(1, func(context.Context, registry.Base) (*served, error) { return m, nil })
	_, release, err := s.pool.get(t.Context(), m.base)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	version := func(n uint32, digest string) *pb.AdapterVersion {
		return &pb.AdapterVersion{Version: n, Digest: digest}
	}
	s.names.put(&pb.AdapterEntry{Name: "mine", Versions: []*pb.AdapterVersion{version(1, "x"), version(2, "y")}, Aliases: map[string]uint32{"latest": 2, "prod": 1}})
	s.names.put(&pb.AdapterEntry{Name: "other", Versions: []*pb.AdapterVersion{version(1, "z")}, Aliases: map[string]uint32{"latest": 1}})
	s.states.set(registry.Resolved{Name: "mine", Version: version(1, "x")}, stateReady, "")
	m.gate.put("x", 1)
	m.gate.put("z", 1)
	send := s.meters.answer("base", time.Now(), func(*pb.ChatChunk) error { return nil })
	for _, chunk := range []*pb.ChatChunk{{Delta: "a"}, {Delta: "b"}, {Delta: "c", FinishReason: "stop", Usage: new(pb.Usage)}} {
		if err := send(chunk); err != nil {
			t.Fatal(err)
		}
	}
	s.meters.queued("base", time.Now())

	status, got := call(t, s.apiHandler(openai.Keys{}, new(lifecycle.Drain)), http.MethodGet, "/metrics", "")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, got)
	}
	for _, want := range []string{
		"# TYPE vllm:num_requests_running gauge", `vllm:num_requests_running{engine="0",model_name="base"} 0`,
		"# TYPE vllm:num_requests_waiting gauge", `vllm:num_requests_waiting{engine="0",model_name="base"} 1`,
		"# TYPE vllm:kv_cache_usage_perc gauge", `vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0`,
		"# TYPE vllm:prompt_tokens_total counter", "# TYPE vllm:generation_tokens_total counter",
		`vllm:prefix_cache_queries_total{engine="0",model_name="base"} 12`, `vllm:prefix_cache_hits_total{engine="0",model_name="base"} 5`,
		`vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="base"} 4`, `vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="base"} 3`,
		`descant_compilations_total{engine="0",model_name="base"} 2`, "# TYPE descant_compilations_total counter",
		"# TYPE vllm:lora_requests_info gauge",
		`descant_adapters_held{tier="slot"} 0`, `descant_adapters_held{tier="host"} 0`, `descant_adapters_held{tier="disk"} 0`,
		`descant_adapters_held_bytes{tier="host"} 0`, `descant_adapters_held_bytes{tier="disk"} 0`,
		`vllm:lora_requests_info{max_lora="4",running_lora_adapters="mine@1,mine@prod",waiting_lora_adapters="other,other@1"} 1.`, // seconds since 1970
		"# TYPE vllm:time_to_first_token_seconds histogram", `vllm:time_to_first_token_seconds_count{engine="0",model_name="base"} 1`,
		"# TYPE vllm:inter_token_latency_seconds histogram", `vllm:inter_token_latency_seconds_count{engine="0",model_name="base"} 2`,
		`vllm:e2e_request_latency_seconds_count{engine="0",model_name="base"} 1`, `vllm:request_queue_time_seconds_count{engine="0",model_name="base"} 1`,
		`vllm:request_success_total{engine="0",finished_reason="stop",model_name="base"} 1`,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("%s is not in\n%s", want, lines(got, "vllm:"))
		}
	}
}

// TestMetricsOfTwoBasesWithOneName: a name that stands for two snapshots is told once, as their sum.
func TestMetricsOfTwoBasesWithOneName(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.WorkDir, cfg.MaxRows = t.TempDir(), 4
	s, err := New(cfg, Deps{Worker: "w", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.pool = newPool(2, func(_ context.Context, base registry.Base) (*served, error) {
		m, engine := fakeServed(base)
		engine.stats = generate.Stats{Rows: 1, Waiting: 2, OutputTokens: 3}
		return m, nil
	})
	for _, digest := range []string{"old", "new"} {
		_, release, err := s.pool.get(t.Context(), registry.Base{Ref: "base", Digest: digest})
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}
	status, got := call(t, s.apiHandler(openai.Keys{}, new(lifecycle.Drain)), http.MethodGet, "/metrics", "")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, got)
	}
	for _, want := range []string{
		`vllm:num_requests_running{engine="0",model_name="base"} 2`, `vllm:num_requests_waiting{engine="0",model_name="base"} 4`,
		`vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25`, `vllm:generation_tokens_total{engine="0",model_name="base"} 6`,
	} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("%s is not in\n%s", want, lines(got, "vllm:"))
		}
	}
}

func TestAPIProtects(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.WorkDir = t.TempDir()
	for addr, want := range map[string]string{"0.0.0.0:8001": "set API keys", "8001": "use host:port", "127.0.0.1:0": "", "off": ""} {
		cfg.APIAddr = addr
		if err := cfg.Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("api_addr %s: %v, want %q", addr, err, want)
		}
	}
	cfg.APIAddr, cfg.APIKeys = "0.0.0.0:8001", lifecycle.NewSecret("sk-0123456789abcdef infer")
	s, err := New(cfg, Deps{Worker: "w", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := openai.ParseKeys(cfg.APIKeys.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	answers := new(lifecycle.Drain)
	api := s.apiHandler(keys, answers)
	if status, _ := call(t, api, http.MethodGet, "/health", ""); status != http.StatusServiceUnavailable {
		t.Errorf("health is %d before the worker is ready", status)
	}
	close(s.ready)
	if status, _ := call(t, api, http.MethodGet, "/health", ""); status != http.StatusOK {
		t.Errorf("health is %d", status)
	}
	if status, body := call(t, api, http.MethodPost, "/v1/chat/completions", ""); status != http.StatusUnauthorized {
		t.Errorf("without a key: %d %s", status, body)
	}
	if status, body := call(t, api, http.MethodPost, "/v1/chat/completions", "sk-0123456789abcdef"); status != http.StatusBadRequest || !strings.Contains(body, "model") {
		t.Errorf("with a key and without a model: %d %s", status, body)
	}
	answers.Stop(t.Context())
	if status, body := call(t, api, http.MethodPost, "/v1/completions", "sk-0123456789abcdef"); status != http.StatusServiceUnavailable || !strings.Contains(body, "about to end") {
		t.Errorf("while it ends: %d %s", status, body)
	}
}

// call sends a request to a handler.
func call(t *testing.T, handler http.Handler, method, path, key string) (status int, body string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	data, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(data)
}

// lines are those of a text that contain something.
func lines(text, part string) string {
	var all []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) && !strings.Contains(line, "_bucket") {
			all = append(all, line)
		}
	}
	return strings.Join(all, "")
}
