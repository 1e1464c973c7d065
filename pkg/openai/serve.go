package openai

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"descant/pkg/job"
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
	return completions(ask, log, ReadChat, func(c *Completion) (shape, string) {
		form := newChatShape(c)
		return form, form.id
	})
}

// Completions serves POST /v1/completions.
func Completions(ask Ask, log *slog.Logger) http.HandlerFunc {
	return completions(ask, log, ReadText, func(c *Completion) (shape, string) {
		form := newTextShape(c)
		return form, form.id
	})
}

func completions(ask Ask, log *slog.Logger, read func([]byte) (*Completion, error), form func(*Completion) (shape, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data, err := ReadBody(w, r)
		if err != nil {
			WriteError(w, err)
			return
		}
		c, err := read(data)
		if err != nil {
			WriteError(w, err)
			return
		}
		log.Debug("completion", "model", c.Request.GetModel(), "user", c.Request.GetUser(), "request_id", w.Header().Get(RequestIDHeader))
		answer, id := form(c)
		c.Request.Id = id
		if c.Stream {
			streamAnswer(w, r, c, ask, answer)
			return
		}
		wholeAnswer(w, r, c, ask, answer)
	}
}

// wholeAnswer sends the answer as one object.
func wholeAnswer(w http.ResponseWriter, r *http.Request, c *Completion, ask Ask, form shape) {
	choices := make([]*pb.ChatChunk, c.choices())
	for i := range choices {
		choices[i] = new(pb.ChatChunk)
	}
	texts := make([]strings.Builder, len(choices))
	open := len(choices)
	for chunk, err := range ask(r.Context(), c.Request) {
		if err != nil {
			if r.Context().Err() == nil { // else the client is gone
				WriteError(w, AsModelError(err))
			}
			return
		}
		i := int(chunk.GetIndex())
		if i >= len(choices) {
			WriteError(w, job.BugError("put the answer together", fmt.Errorf("choice %d of %d", i, len(choices))))
			return
		}
		texts[i].WriteString(chunk.GetDelta())
		choices[i].Logprobs = append(choices[i].Logprobs, chunk.GetLogprobs()...)
		choices[i].Model = chunk.GetModel()
		if reason := chunk.GetFinishReason(); reason != "" {
			choices[i].FinishReason, choices[i].Delta = reason, texts[i].String()
			if open--; open == 0 {
				WriteJSON(w, http.StatusOK, form.whole(choices, usageOf(chunk.GetUsage())))
				return
			}
		}
	}
	if r.Context().Err() == nil {
		WriteError(w, errCut)
	}
}

var errCut = errors.New("the answer ended in the middle")

// streamAnswer sends the answer as events. The status is that of the first chunk, if that comes soon.
func streamAnswer(w http.ResponseWriter, r *http.Request, c *Completion, ask Ask, form shape) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream := NewEventStream(w)
	wait := time.NewTimer(firstPatience)
	defer wait.Stop()
	chunks, open := pump(ctx, ask, c.Request), c.choices()
	for {
		select {
		case next, more := <-chunks:
			if ctx.Err() != nil {
				return // the client is gone
			}
			if !more {
				stream.Fail(errCut)
				return
			}
			if next.err != nil {
				stream.Fail(AsModelError(next.err))
				return
			}
			if sendChunk(stream, form, next.chunk) != nil {
				return // the client is gone
			}
			if next.chunk.GetFinishReason() != "" {
				if open--; open == 0 {
					_ = finishStream(stream, form, c, next.chunk) // the client may be gone
					return
				}
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

// sendChunk writes the events of one chunk.
func sendChunk(stream *EventStream, form shape, chunk *pb.ChatChunk) error {
	for _, event := range form.events(chunk) {
		if err := stream.Send(event); err != nil {
			return err
		}
	}
	return nil
}

// finishStream writes what follows the last chunk.
func finishStream(stream *EventStream, form shape, c *Completion, chunk *pb.ChatChunk) error {
	if c.IncludeUsage {
		if err := stream.Send(form.usage(usageOf(chunk.GetUsage()))); err != nil {
			return err
		}
	}
	return stream.Done()
}

// ReadBody reads a body of JSON. Another content type is refused: a page in a browser can send a form or plain text to
// any address without asking, but not JSON.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return nil, newError(http.StatusUnsupportedMediaType, TypeInvalidRequest, "", CodeMediaType, "send Content-Type: application/json")
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
