package openai

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"descant/pkg/job"
	"descant/pkg/pb"
)

// refusing refuses the first times, with each error once, and then answers.
func refusing(asked *atomic.Int32, refusals ...error) Ask {
	return func(context.Context, *pb.ChatRequest) iter.Seq2[*pb.ChatChunk, error] {
		return func(yield func(*pb.ChatChunk, error) bool) {
			if n := int(asked.Add(1)); n <= len(refusals) {
				yield(nil, refusals[n-1])
				return
			}
			yield(&pb.ChatChunk{Delta: "yes", FinishReason: "stop", Usage: &pb.Usage{}}, nil)
		}
	}
}

// TestSDKTriesAgain holds which refusals OpenAI's SDK tries again by itself, and that it is told when.
func TestSDKTriesAgain(t *testing.T) {
	t.Parallel()
	overloaded := job.RefusedError(job.CodeOverloaded, "all places are taken", "come again", time.Second)
	noWorker := job.RefusedError(job.CodeNoWorker, "no inference worker is there", "start one", time.Second)
	unknown := job.UserError(job.CodeNotFound, `model "m" is not served here`, "name another")
	wrong := job.UserError(job.CodeBadRequest, "the request cannot be answered", "correct it")
	tests := map[string]struct {
		refusals []error
		status   int // of the error that the SDK gives in the end; 0: none
		asked    int32
	}{
		"overloaded, then no worker": {[]error{overloaded, noWorker}, 0, 3},
		"overloaded for good":        {[]error{overloaded, overloaded, overloaded}, http.StatusTooManyRequests, 3},
		"an unknown model":           {[]error{unknown}, http.StatusNotFound, 1},
		"a wrong request":            {[]error{wrong}, http.StatusBadRequest, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := httptest.NewServer(ChatCompletions(refusing(&asked, tt.refusals...), slog.New(slog.DiscardHandler)))
			defer server.Close()
			client := openai.NewClient(option.WithBaseURL(server.URL), option.WithAPIKey("none"), option.WithMaxRetries(2),
				option.WithMiddleware(func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
					response, err := next(r)
					if err == nil && (response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable) && response.Header.Get("Retry-After") != "1" {
						t.Errorf("Retry-After %q beside status %d", response.Header.Get("Retry-After"), response.StatusCode)
					}
					return response, err
				}))
			answer, err := client.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("?")}})
			var refused *openai.Error
			switch {
			case tt.status == 0 && (err != nil || answer.Choices[0].Message.Content != "yes"):
				t.Errorf("answer %v, error %v", answer, err)
			case tt.status != 0 && (!errors.As(err, &refused) || refused.StatusCode != tt.status):
				t.Errorf("error %v, want status %d", err, tt.status)
			}
			if asked.Load() != tt.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), tt.asked)
			}
		})
	}
}

// TestSDKLeaves holds that the work for a stream ends when the SDK closes it: the one who asks sees the end of the context.
func TestSDKLeaves(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	ask := func(ctx context.Context, _ *pb.ChatRequest) iter.Seq2[*pb.ChatChunk, error] {
		return func(yield func(*pb.ChatChunk, error) bool) {
			if !yield(&pb.ChatChunk{Delta: "first"}, nil) {
				return
			}
			<-ctx.Done()
			ended <- ctx.Err()
		}
	}
	server := httptest.NewServer(ChatCompletions(ask, slog.New(slog.DiscardHandler)))
	defer server.Close()
	client := openai.NewClient(option.WithBaseURL(server.URL), option.WithAPIKey("none"), option.WithMaxRetries(0))
	stream := client.Chat.Completions.NewStreaming(t.Context(), openai.ChatCompletionNewParams{Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("?")}})
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the work ended with %v", err)
		}
	case <-t.Context().Done():
		t.Fatal("the work goes on")
	case <-time.After(time.Minute):
		t.Fatal("the work goes on")
	}
}
