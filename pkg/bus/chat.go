package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"descant/pkg/pb"
)

const (
	headerFormat = "Content-Type"
	formatProto  = "application/protobuf"
	// headerCancel names the subject on which the requester tells that it no
	// longer listens.
	headerCancel = "Descant-Cancel"
)

// ErrSilent says that the worker that answers a chat request went silent.
var ErrSilent = errors.New("the worker went silent")

// ChatHandler answers one chat request by sending chunks, in order. An error
// becomes the last chunk. ctx ends when the requester is gone.
type ChatHandler func(ctx context.Context, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error

// Chunks is the answer of a handler in this process as [Bus.Chat] gives that of
// another one. It returns when the handler has.
func (h ChatHandler) Chunks(ctx context.Context, req *pb.ChatRequest) iter.Seq2[*pb.ChatChunk, error] {
	return func(yield func(*pb.ChatChunk, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// A handler may send from several goroutines, yield belongs to this one.
		chunks := make(chan *pb.ChatChunk)
		var failed error
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			failed = guardedChat(ctx, h, req, func(chunk *pb.ChatChunk) error {
				select {
				case chunks <- chunk:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
		for {
			select {
			case chunk := <-chunks:
				if !yield(chunk, nil) {
					cancel()
					<-ended
					return
				}
			case <-ended:
				if failed != nil {
					yield(nil, failed)
				}
				return
			}
		}
	}
}

// ServeChat answers chat requests on a subject until ctx ends, each request by
// one member of the queue. Then it takes no more, and finishes those that are
// running or were delivered. ready, if not nil, is called when the subscription
// stands. Requests in protobuf get protobuf back, all others JSON.
func (b *Bus) ServeChat(ctx context.Context, subject, queue string, handle ChatHandler, ready func()) error {
	var running crew
	defer running.wait()
	sub, err := b.conn.QueueSubscribe(subject, queue, func(msg *nats.Msg) {
		running.run(func() { b.chat(working(ctx), msg, handle) })
	})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", subject, err)
	}
	defer b.drain(sub)
	if err := b.flush(ctx); err != nil {
		return fmt.Errorf("listen on %s: %w", subject, err)
	}
	if ready != nil {
		ready()
	}
	<-ctx.Done()
	return nil
}

// drain ends a subscription and returns when everything that was delivered to
// it is in its handler: whoever sent it counts on an answer.
func (b *Bus) drain(sub *nats.Subscription) {
	if !b.conn.IsConnected() {
		_ = sub.Unsubscribe() // nothing more can come
		return
	}
	closed := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(closed) })
	if sub.Drain() != nil {
		return // a closed connection has no subscriptions
	}
	<-closed
}

// chat answers one request and ends the stream with an empty message.
func (b *Bus) chat(ctx context.Context, msg *nats.Msg, handle ChatHandler) {
	if msg.Reply == "" {
		b.log.Warn("chat request without a reply subject: use `nats req`, not `nats pub`", "subject", msg.Subject)
		return
	}
	serving := ctx // ends with this process, ctx also with the requester
	ctx, cancel := context.WithCancel(serving)
	defer cancel()
	if at := msg.Header.Get(headerCancel); at != "" {
		sub, err := b.conn.Subscribe(at, func(*nats.Msg) { cancel() })
		if err == nil {
			defer sub.Unsubscribe() //nolint:errcheck // a closed connection has no subscriptions
		}
	}
	gone, release := b.whenGone(cancel)
	defer release()
	binary := msg.Header.Get(headerFormat) == formatProto
	send := func(chunk *pb.ChatChunk) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return b.sendChunk(msg, gone, chunk, binary)
	}
	req, err := chatRequest(msg.Data, binary)
	if err == nil {
		err = guardedChat(ctx, handle, req, send)
	}
	if err != nil && (ctx.Err() == nil || serving.Err() != nil) {
		last := &pb.ChatChunk{Id: req.GetId(), FinishReason: "error", Error: wire(err)}
		if last.Error.Class == "bug" {
			b.log.Error("chat request failed", "subject", msg.Subject, "error", err)
		}
		err = b.sendChunk(msg, gone, last, binary)
	}
	if end := msg.Respond(nil); err == nil {
		err = end
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		b.log.Warn("cannot answer a chat request", "subject", msg.Subject, "error", err)
	}
}

func guardedChat(ctx context.Context, handle ChatHandler, req *pb.ChatRequest, send func(*pb.ChatChunk) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return handle(ctx, req, send)
}

func chatRequest(data []byte, binary bool) (*pb.ChatRequest, error) {
	req := new(pb.ChatRequest)
	var err error
	if binary {
		err = chatFromProto(data, req)
	} else {
		err = chatFromJSON(data, req)
	}
	if err != nil {
		return req, Fail(&pb.Error{Class: "user", Code: "bad_request", Message: err.Error(),
			NextStep: `send for example {"model":"my-adapter","prompt":"Hello"}`})
	}
	return req, nil
}

// whenGone calls gone when the server finds nobody who listens to a chunk. It
// returns the subject on which the server says so.
func (b *Bus) whenGone(gone func()) (at string, release func()) {
	at = b.conn.NewInbox()
	sub, err := b.conn.Subscribe(at, func(msg *nats.Msg) {
		if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
			gone()
		}
	})
	if err != nil {
		return at, func() {} // the connection is closed, which the next chunk tells
	}
	return at, func() { _ = sub.Unsubscribe() } // a closed connection has no subscriptions
}

// sendChunk sends a chunk; gone is where the server tells that nobody listens.
func (b *Bus) sendChunk(msg *nats.Msg, gone string, chunk *pb.ChatChunk, binary bool) error {
	var (
		data []byte
		err  error
	)
	if binary {
		data, err = proto.Marshal(chunk)
	} else {
		data, err = ToJSON(chunk)
	}
	if err != nil {
		return fmt.Errorf("encode chunk: %w", err)
	}
	if len(data) == 0 {
		return nil // an empty message would end the stream, and says nothing
	}
	return b.conn.PublishRequest(msg.Reply, gone, data)
}

// Chat sends a chat request and yields the chunks of the answer. It ends after
// the last chunk; with [ErrNoResponders] if nobody listens, with [ErrSilent]
// after a silence, with a [*Failure] if the request was refused. Breaking off
// the loop, or the end of ctx, tells the worker to stop.
func (b *Bus) Chat(ctx context.Context, subject string, req *pb.ChatRequest, silence time.Duration) iter.Seq2[*pb.ChatChunk, error] {
	return func(yield func(*pb.ChatChunk, error) bool) {
		sub, cancelAt, err := b.ask(subject, req)
		if err != nil {
			yield(nil, fmt.Errorf("ask %s: %w", subject, err))
			return
		}
		defer sub.Unsubscribe() //nolint:errcheck // a closed connection has no subscriptions
		finished := false
		defer func() {
			if !finished {
				_ = b.conn.Publish(cancelAt, nil) // a hint: the worker also stops by itself
			}
		}()
		for {
			msg, err := nextWithin(ctx, sub, silence)
			if err != nil {
				finished = errors.Is(err, ErrNoResponders)
				yield(nil, fmt.Errorf("ask %s: %w", subject, err))
				return
			}
			if len(msg.Data) == 0 {
				finished = true
				return
			}
			chunk := new(pb.ChatChunk)
			if err := proto.Unmarshal(msg.Data, chunk); err != nil {
				yield(nil, fmt.Errorf("ask %s: decode chunk: %w", subject, err))
				return
			}
			if chunk.Error != nil {
				finished = true
				yield(nil, Fail(chunk.Error))
				return
			}
			if !yield(chunk, nil) {
				return
			}
		}
	}
}

// ask publishes the request with a reply subject and one for its cancellation.
func (b *Bus) ask(subject string, req *pb.ChatRequest) (*nats.Subscription, string, error) {
	if strings.ContainsAny(subject, "*> ") {
		return nil, "", fmt.Errorf("bad subject %q", subject)
	}
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, "", err
	}
	inbox, cancelAt := b.conn.NewInbox(), b.conn.NewInbox()
	sub, err := b.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, "", err
	}
	msg := message(subject, data)
	msg.Reply = inbox
	msg.Header.Set(headerFormat, formatProto)
	msg.Header.Set(headerCancel, cancelAt)
	if err := b.conn.PublishMsg(msg); err != nil {
		_ = sub.Unsubscribe() // the first error is the one to tell
		return nil, "", err
	}
	return sub, cancelAt, nil
}

func nextWithin(ctx context.Context, sub *nats.Subscription, silence time.Duration) (*nats.Msg, error) {
	wait, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	msg, err := sub.NextMsgWithContext(wait)
	switch {
	case err == nil:
		return msg, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case wait.Err() != nil:
		return nil, fmt.Errorf("%w for %s", ErrSilent, silence)
	}
	return nil, responders(err)
}
