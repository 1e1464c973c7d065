package openai

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"descant/pkg/pb"
)

// Ask sends a request to whoever answers it and yields the chunks; the last has finish_reason. The end of ctx, or of the
// loop, ends the work. It is what bus.Bus.Chat does.
type Ask func(ctx context.Context, req *pb.ChatRequest) iter.Seq2[*pb.ChatChunk, error]

// maxBody is the longest body of a request in JSON.
const maxBody = 16 << 20

// firstPatience is how long the first word of a stream may take before the head of the answer is sent without it.
const firstPatience = 10 * time.Second

// ChatCompletions serves POST /v1/chat/completions.
func ChatCompletions(ask Ask, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data, err := ReadBody(w, r)
		if err != nil {
			WriteError(w, err)
			return
		}
		c, err := ReadChat(data)
		if err != nil {
			WriteError(w, err)
			return
		}
		if c.User != "" {
			log.Info("chat", "model", c.Request.GetModel(), "user", c.User, "request_id", w.Header().Get(RequestIDHeader))
		}
		answer := &chatAnswer{ID: "chatcmpl-" + randomID(), Created: time.Now().Unix(), Model: c.Request.GetModel()}
		c.Request.Id = answer.ID
		if c.Stream {
			streamAnswer(w, r, c, ask, answer)
			return
		}
		wholeAnswer(w, r, c, ask, answer)
	}
}

// shape writes an answer in the form of one endpoint.
type shape interface {
	// resolved tells which model it is that answers.
	resolved(model string)
	// begin returns the events before the first text, once.
	begin() []any
	delta(text string) any
	end(finish string) any
	usage(u *Usage) any
	whole(text, finish string, u *Usage) any
}

// wholeAnswer sends the answer as one object.
func wholeAnswer(w http.ResponseWriter, r *http.Request, c *Completion, ask Ask, form shape) {
	var text strings.Builder
	for chunk, err := range ask(r.Context(), c.Request) {
		if err != nil {
			WriteError(w, completionError(err))
			return
		}
		if chunk.GetModel() != "" {
			form.resolved(chunk.GetModel())
		}
		text.WriteString(chunk.GetDelta())
		if reason := chunk.GetFinishReason(); reason != "" {
			WriteJSON(w, http.StatusOK, form.whole(text.String(), reason, usageOf(chunk.GetUsage())))
			return
		}
	}
	WriteError(w, errCut)
}

var errCut = errors.New("the answer ended in the middle")

// streamAnswer sends the answer as events. The status is that of the first chunk, if that comes soon.
func streamAnswer(w http.ResponseWriter, r *http.Request, c *Completion, ask Ask, form shape) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream := NewEventStream(w)
	wait := time.NewTimer(firstPatience)
	defer wait.Stop()
	chunks := pump(ctx, ask, c.Request)
	for {
		select {
		case next, open := <-chunks:
			if !open {
				stream.Fail(errCut)
				return
			}
			if next.err != nil {
				stream.Fail(completionError(next.err))
				return
			}
			last, err := sendChunk(stream, form, c, next.chunk)
			if last || err != nil {
				return // with an error the client is gone
			}
		case <-wait.C:
			if stream.Comment("waiting") != nil {
				return
			}
		}
		wait.Reset(KeepAlive)
	}
}

type answerChunk struct {
	chunk *pb.ChatChunk
	err   error
}

// pump turns the chunks into a channel, which ends with them or with ctx.
func pump(ctx context.Context, ask Ask, req *pb.ChatRequest) <-chan answerChunk {
	chunks := make(chan answerChunk)
	go func() {
		defer close(chunks)
		for chunk, err := range ask(ctx, req) {
			select {
			case chunks <- answerChunk{chunk, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return chunks
}

// sendChunk writes the events of one chunk and tells whether it was the last.
func sendChunk(stream *EventStream, form shape, c *Completion, chunk *pb.ChatChunk) (last bool, err error) {
	if chunk.GetModel() != "" {
		form.resolved(chunk.GetModel())
	}
	events := form.begin()
	if chunk.GetDelta() != "" {
		events = append(events, form.delta(chunk.GetDelta()))
	}
	last = chunk.GetFinishReason() != ""
	if last {
		events = append(events, form.end(chunk.GetFinishReason()))
		if c.IncludeUsage {
			events = append(events, form.usage(usageOf(chunk.GetUsage())))
		}
	}
	for _, event := range events {
		if err := stream.Send(event); err != nil {
			return last, err
		}
	}
	if last {
		err = stream.Done()
	}
	return last, err
}

// completionError names the parameter that an unknown model comes from.
func completionError(err error) error {
	e := *AsError(err)
	if e.Status == http.StatusNotFound {
		model, code := "model", CodeModelNotFound
		e.Param, e.Code = &model, &code
	}
	return &e
}

func usageOf(u *pb.Usage) *Usage {
	return &Usage{PromptTokens: u.GetPromptTokens(), CompletionTokens: u.GetCompletionTokens(), TotalTokens: u.GetTotalTokens()}
}

// ReadBody reads a body of JSON. Another content type is refused: a page in a browser can send a form or plain text to
// any address without asking, but not JSON.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return nil, newError(http.StatusUnsupportedMediaType, TypeInvalidRequest, "", "unsupported_media_type", "send Content-Type: application/json")
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
}

func randomID() string {
	var b [12]byte
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return hex.EncodeToString(b[:])
}
