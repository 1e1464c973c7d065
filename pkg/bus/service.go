package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"

	"descant/pkg/pb"
)

// Failure is an error that a person sees, in the form in which it travels.
type Failure struct{ Detail *pb.Error }

// Fail makes an error of its wire form.
func Fail(e *pb.Error) error { return &Failure{e} }

func (f *Failure) Error() string {
	text := f.Detail.GetMessage()
	if text == "" {
		text = f.Detail.GetCode()
	}
	if next := f.Detail.GetNextStep(); next != "" {
		text += "; " + next
	}
	return text
}

// wire turns any error into what travels; what is not a Failure is a bug or an
// infrastructure error, told without its inside.
func wire(err error) *pb.Error {
	var f *Failure
	if errors.As(err, &f) {
		return f.Detail
	}
	class, code := "bug", "internal"
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout) {
		class, code = "infrastructure", "timeout"
	}
	return &pb.Error{Class: class, Code: code, Message: err.Error(), NextStep: "see the log of the service"}
}

// Service is a micro service as `nats service ls` shows it.
type Service struct {
	Name        string // letters, digits, - and _
	Version     string // semantic version
	Description string
	Methods     []Method
}

// Method is one subject of a service.
type Method struct {
	subject string
	call    func(ctx context.Context, data []byte) (proto.Message, error)
}

// NewMethod answers JSON requests on a subject. An empty request is one without
// fields; a field that the message does not have is refused.
func NewMethod[Q any, P interface {
	*Q
	proto.Message
}, R proto.Message](subject string, call func(ctx context.Context, req P) (R, error)) Method {
	return RawMethod(subject, func(ctx context.Context, data []byte) (R, error) {
		req := P(new(Q))
		if len(data) > 0 {
			if err := FromJSON(data, req); err != nil {
				var none R
				return none, Fail(&pb.Error{Class: "user", Code: "bad_request", Message: err.Error(), NextStep: "correct the request"})
			}
		}
		return call(ctx, req)
	})
}

// RawMethod answers requests on a subject that the caller decodes itself.
func RawMethod[R proto.Message](subject string, call func(ctx context.Context, data []byte) (R, error)) Method {
	return Method{subject, func(ctx context.Context, data []byte) (proto.Message, error) { return call(ctx, data) }}
}

// Serve answers requests to a micro service until ctx ends, and finishes those
// that are running.
func (b *Bus) Serve(ctx context.Context, service Service) error {
	svc, err := micro.AddService(b.conn, micro.Config{Name: service.Name, Version: service.Version, Description: service.Description})
	if err != nil {
		return fmt.Errorf("micro service %s: %w", service.Name, err)
	}
	var running crew
	defer running.wait()
	defer svc.Stop() //nolint:errcheck // a closed connection has no services
	for _, m := range service.Methods {
		name := m.subject[strings.LastIndex(m.subject, ".")+1:]
		handler := micro.HandlerFunc(func(req micro.Request) {
			// A handler of its own for each request: one that waits must not
			// hold up the others.
			running.run(func() { b.answer(working(ctx), m, req) })
		})
		if err := svc.AddEndpoint(name, handler, micro.WithEndpointSubject(m.subject)); err != nil {
			return fmt.Errorf("micro service %s, subject %s: %w", service.Name, m.subject, err)
		}
	}
	<-ctx.Done()
	return nil
}

func (b *Bus) answer(ctx context.Context, m Method, req micro.Request) {
	reply, err := guardedCall(ctx, m, req.Data())
	var data []byte
	if err == nil {
		data, err = ToJSON(reply)
	}
	if err == nil {
		err = req.Respond(data)
	} else {
		err = b.answerError(req, err)
	}
	if err != nil {
		b.log.Warn("cannot answer a request", "subject", m.subject, "error", err)
	}
}

func (b *Bus) answerError(req micro.Request, err error) error {
	why := wire(err)
	if why.GetClass() != "user" {
		b.log.Error("request failed", "subject", req.Subject(), "error", err)
	}
	data, err := ToJSON(&pb.ErrorResponse{Error: why})
	if err != nil {
		return err
	}
	return req.Error(why.GetCode(), reason(errors.New(why.GetMessage())), data)
}

func guardedCall(ctx context.Context, m Method, data []byte) (reply proto.Message, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return m.call(ctx, data)
}

// Call sends a request to a micro service and decodes its reply. What the
// service refuses comes back as a [*Failure].
func (b *Bus) Call(ctx context.Context, subject string, req, reply proto.Message) error {
	data, err := ToJSON(req)
	if err != nil {
		return err
	}
	return b.CallRaw(ctx, subject, data, reply)
}

// CallRaw is Call with a request that is JSON already.
func (b *Bus) CallRaw(ctx context.Context, subject string, data []byte, reply proto.Message) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.cfg.Timeout)
		defer cancel()
	}
	msg, err := b.conn.RequestWithContext(ctx, subject, data)
	if err != nil {
		return fmt.Errorf("request %s: %w", subject, responders(err))
	}
	if msg.Header.Get(micro.ErrorCodeHeader) != "" {
		refused := new(pb.ErrorResponse)
		if err := FromJSON(msg.Data, refused); err != nil || refused.Error == nil {
			return fmt.Errorf("request %s: %s", subject, msg.Header.Get(micro.ErrorHeader))
		}
		return Fail(refused.Error)
	}
	return FromJSON(msg.Data, reply)
}
