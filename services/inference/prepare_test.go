package inference

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// oneBase knows the built-in base only.
type oneBase struct{}

func (oneBase) Base(context.Context, string) (registry.Base, error) {
	return registry.Base{Ref: "builtin:tiny", Digest: "sha256:tiny", Dir: tinyDir}, nil
}

// TestWhatIsWrongIsToldWithoutWaiting: at a worker that can take nobody, a request that could never be answered is refused
// for that, and only a good one for the want of room.
func TestWhatIsWrongIsToldWithoutWaiting(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.WorkDir, cfg.Model = t.TempDir(), "builtin:tiny"
	s, err := New(cfg, Deps{Worker: "w", Bases: oneBase{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := fakeServed(registry.Base{Ref: cfg.Model})
	m.text, m.engine, m.gate = tinyLanguage(t), &script{}, testGate(1, 1)
	m.gate.put("", 1)
	m.gate.maxWaiting = 0
	s.pool = newPool(1, func(context.Context, registry.Base) (*served, error) { return m, nil })
	for name, c := range map[string]struct {
		req  *pb.ChatRequest
		code job.Code
	}{
		"good":        {&pb.ChatRequest{Prompt: "hi"}, job.CodeOverloaded},
		"temperature": {&pb.ChatRequest{Prompt: "hi", Temperature: ptr(-1.0)}, job.CodeBadRequest},
		"regex":       {&pb.ChatRequest{Prompt: "hi", Regex: "("}, job.CodeBadRequest},
		"too long":    {&pb.ChatRequest{Prompt: strings.Repeat("hi ", 3000)}, job.CodeContextLength},
		"no room":     {&pb.ChatRequest{Prompt: "hi", MaxTokens: 2048}, job.CodeContextLength},
	} {
		err := s.answer(t.Context(), c.req, func(*pb.ChatChunk) error { return nil })
		if err == nil || chatError(err).Code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}
