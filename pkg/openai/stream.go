package openai

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// KeepAlive is how often a stream that has nothing to say sends a comment, so that nothing between here and the client
// takes the connection for dead.
const KeepAlive = 15 * time.Second

// writePatience is how long a client may not read before its stream is given up.
const writePatience = 30 * time.Second

// EventStream writes server-sent events. The first write sends the head of the answer; until then it can still be an
// error with a status.
type EventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	started bool
}

// NewEventStream returns a stream on an answer that was not begun.
func NewEventStream(w http.ResponseWriter) *EventStream {
	return &EventStream{w: w, control: http.NewResponseController(w)}
}

// Send writes v as one event.
func (s *EventStream) Send(v any) error { return s.SendID("", v) }

// SendID writes v as one event with an id, from which a client can go on later.
func (s *EventStream) SendID(id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	if id != "" {
		return s.write("id: %s\ndata: %s\n\n", id, data)
	}
	return s.write("data: %s\n\n", data)
}

// Comment writes a line that clients ignore.
func (s *EventStream) Comment(text string) error { return s.write(": %s\n\n", text) }

// Done writes the event that ends a stream.
func (s *EventStream) Done() error { return s.write("data: [DONE]\n\n") }

// Fail ends the answer with an error: with its status where nothing was sent yet, else as the last event.
func (s *EventStream) Fail(err error) {
	if !s.started {
		WriteError(s.w, err)
		return
	}
	_ = s.Send(map[string]*Error{"error": AsError(err)}) // the client may be gone
}

func (s *EventStream) write(format string, args ...any) error {
	if !s.started {
		s.started = true
		head := s.w.Header()
		head.Set("Content-Type", "text/event-stream; charset=utf-8")
		head.Set("Cache-Control", "no-cache")
		head.Set("X-Accel-Buffering", "no") // nginx would hold the events back
		s.w.WriteHeader(http.StatusOK)
	}
	// A test's recorder knows no deadlines; a server does.
	_ = s.control.SetWriteDeadline(time.Now().Add(writePatience))
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.control.Flush()
}
