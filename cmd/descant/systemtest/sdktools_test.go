package systemtest_test

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"descant/pkg/openai"
	"descant/pkg/pb"
)

// toolSDKs has the SDKs call a tool and tell its result. The words are those of a model that was taught tools, which the
// built-in one was not.
func toolSDKs(t *testing.T, cache string) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", openai.ChatCompletions(callsTool, slog.New(slog.DiscardHandler)))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	script(t, filepath.Join(cache, "sdk", "python", "venv", "bin", "python"), "sdk/tools.py", server.URL)
	script(t, "node", "sdk/tools.mjs", server.URL, filepath.Join(cache, "sdk", "node"))
}

// callsTool asks for the weather and, told of it, repeats what it was told.
func callsTool(_ context.Context, req *pb.ChatRequest) iter.Seq2[*pb.ChatChunk, error] {
	words := []string{"I look. ", "<tool_", "call>\n{\"name\": \"weather\", \"argu", "ments\": {\"city\": \"Paris\"}}\n</tool_call>"}
	if last := req.GetMessages()[len(req.GetMessages())-1]; last.GetRole() == "tool" {
		words = []string{"It is ", last.GetContent()}
	}
	return func(yield func(*pb.ChatChunk, error) bool) {
		for _, word := range words {
			if !yield(&pb.ChatChunk{Delta: word}, nil) {
				return
			}
		}
		yield(&pb.ChatChunk{FinishReason: "stop", Usage: &pb.Usage{}}, nil)
	}
}
