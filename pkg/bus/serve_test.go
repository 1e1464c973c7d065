package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
)

func leases(t *testing.T, b *bus.Bus) {
	a, err := b.Acquire(t.Context(), "lease.1", "a")
	must(t, err)
	_, err = b.Acquire(t.Context(), "lease.1", "b")
	wantIs(t, err, bus.ErrExists)
	again, err := b.Acquire(t.Context(), "lease.1", "a") // after a restart
	must(t, err)
	wantIs(t, a.Renew(t.Context()), bus.ErrStale)
	must(t, again.Renew(t.Context()))
	lost, err := b.Acquire(t.Context(), "lease.2", "a") // expires, here at once
	must(t, err)
	must(t, lost.Release(t.Context()))
	must(t, lost.Renew(t.Context())) // nobody has taken it
	must(t, a.Release(t.Context()))  // not its own any more: nothing happens
	if owner, err := b.LeaseOwner(t.Context(), "lease.1"); err != nil || owner != "a" {
		t.Errorf("%q, %v", owner, err)
	}
	must(t, again.Release(t.Context()))
	_, err = b.Acquire(t.Context(), "lease.1", "b")
	must(t, err)
}

func bucket(t *testing.T, b *bus.Bus) {
	k := b.Registry()
	rev, err := k.Create(t.Context(), "test.a", []byte("1"))
	must(t, err)
	_, err = k.Create(t.Context(), "test.a", []byte("2"))
	wantIs(t, err, bus.ErrExists)
	_, err = k.Update(t.Context(), "test.a", []byte("2"), rev+100)
	wantIs(t, err, bus.ErrStale)
	rev, err = k.Update(t.Context(), "test.a", []byte("2"), rev)
	must(t, err)
	_, err = k.Get(t.Context(), "test.none")
	wantIs(t, err, bus.ErrNotFound)

	current := false
	for e, err := range k.Watch(limited(t), "test.>") {
		must(t, err)
		switch {
		case e.Current:
			current = true
			_, err := k.Put(t.Context(), "test.b", []byte("3"))
			must(t, err)
		case e.Key == "test.a" && !e.Deleted:
			if string(e.Value) != "2" || current {
				t.Errorf("%+v", e)
			}
		case e.Key == "test.b":
			wantIs(t, k.Delete(t.Context(), "test.a", rev+100), bus.ErrStale)
			must(t, k.Delete(t.Context(), "test.a", rev))
		}
		if e.Deleted {
			break
		}
	}
	left, err := k.List(limited(t), "test.*")
	if err != nil || len(left) != 1 || left[0].Key != "test.b" {
		t.Errorf("%+v, %v", left, err)
	}
}

func workers(t *testing.T, b *bus.Bus) {
	must(t, b.PutWorker(t.Context(), &pb.WorkerInfo{Id: "w-1", Kind: "inference", Adapters: []string{"sha256:1"}}))
	must(t, b.PutWorker(t.Context(), &pb.WorkerInfo{Id: "w-2", Kind: "trainer"}))
	all, err := b.Workers(limited(t), "inference")
	if err != nil || len(all) != 1 || all[0].Id != "w-1" || all[0].UpdatedAt == nil || len(all[0].Adapters) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	must(t, b.RemoveWorker(t.Context(), "w-1"))
	if all, err = b.Workers(limited(t), ""); err != nil || len(all) != 1 || all[0].Id != "w-2" {
		t.Errorf("%v, %v", all, err)
	}
}

func control(t *testing.T, b *bus.Bus) {
	ctx := limited(t)
	wishes, err := b.Controls(ctx, "control-1", "")
	must(t, err)
	everyone, err := b.Controls(ctx, "*", "gateways")
	must(t, err)
	must(t, b.SendControl(ctx, bus.Control{Job: "control-1", Action: "cancel", Reason: "typo"}))
	for _, seq := range []func(func(bus.Control) bool){wishes, everyone} {
		got := false
		for c := range seq {
			got = c == bus.Control{Job: "control-1", Action: "cancel", Reason: "typo"}
			break
		}
		if !got {
			t.Error("the wish did not arrive")
		}
	}
}

func metrics(t *testing.T, b *bus.Bus) {
	must(t, b.Report(t.Context(), "trainer", "t-1", map[string]float64{"tokens_total": 1}))
	if err := b.Report(t.Context(), "a.b", "t", nil); err == nil {
		t.Error("a service with a dot was taken")
	}
}

// listing waits until the service answers at all: AddService has no signal.
func listing(t *testing.T, b *bus.Bus, subject string, req *pb.ListJobsRequest) *pb.ListJobsResponse {
	t.Helper()
	reply := new(pb.ListJobsResponse)
	eventually(t, func() bool {
		err := b.Call(limited(t), subject, req, reply)
		if err != nil && !errors.Is(err, bus.ErrNoResponders) {
			t.Fatal(err)
		}
		return err == nil
	})
	return reply
}

func service(t *testing.T, b *bus.Bus) {
	background(t, func(ctx context.Context) error {
		return b.Serve(ctx, bus.Service{Name: "test", Version: "0.1.0", Description: "a test", Methods: []bus.Method{
			bus.NewMethod("test.jobs.list", func(_ context.Context, req *pb.ListJobsRequest) (*pb.ListJobsResponse, error) {
				return &pb.ListJobsResponse{Jobs: []*pb.JobView{{Id: "j", State: req.State}}}, nil
			}),
			bus.NewMethod("test.jobs.get", func(_ context.Context, req *pb.GetJobRequest) (*pb.JobView, error) {
				switch req.Id {
				case "panic":
					panic("oh")
				case "bug":
					return nil, errors.New("inside")
				}
				return nil, bus.Fail(&pb.Error{Class: "user", Code: "not_found", Message: "no job x", NextStep: "list the jobs"})
			}),
		}})
	})
	if reply := listing(t, b, "test.jobs.list", &pb.ListJobsRequest{State: "queued"}); len(reply.Jobs) != 1 || reply.Jobs[0].State != "queued" {
		t.Errorf("%v", reply)
	}
	cases := map[string]struct{ request, code, text string }{
		"refused":       {`{"id":"x"}`, "not_found", "no job x; list the jobs"},
		"unknown field": {`{"ids":"x"}`, "bad_request", "ids"},
		"empty":         {``, "not_found", "no job x"},
		"bug":           {`{"id":"bug"}`, "internal", "inside"},
		"panic":         {`{"id":"panic"}`, "internal", "panic"},
	}
	for name, c := range cases {
		err := b.CallRaw(limited(t), "test.jobs.get", []byte(c.request), new(pb.JobView))
		var failed *bus.Failure
		if !errors.As(err, &failed) || failed.Detail.Code != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantIs(t, b.Call(limited(t), "test.nobody", &pb.GetJobRequest{}, new(pb.JobView)), bus.ErrNoResponders)
}

func serveChat(t *testing.T, b *bus.Bus, subject string, handle bus.ChatHandler) {
	t.Helper()
	ready := make(chan struct{})
	background(t, func(ctx context.Context) error {
		return b.ServeChat(ctx, subject, "q", handle, func() { close(ready) })
	})
	receive(t, ready)
}

func chat(t *testing.T, b *bus.Bus) {
	serveChat(t, b, bus.WorkerSubject("chat-1"), func(_ context.Context, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
		for i := range 100 {
			if err := send(&pb.ChatChunk{Id: req.Id, Delta: fmt.Sprint(i, req.Messages[0].Content, " ")}); err != nil {
				return err
			}
		}
		if err := send(&pb.ChatChunk{}); err != nil { // must not end the stream
			return err
		}
		return send(&pb.ChatChunk{FinishReason: "stop", Usage: &pb.Usage{TotalTokens: 100}})
	})
	var text strings.Builder
	var want strings.Builder
	for i := range 100 {
		fmt.Fprint(&want, i, "嗨", " ")
	}
	var last *pb.ChatChunk
	req := &pb.ChatRequest{Id: "r1", Messages: []*pb.ChatMessage{{Role: "user", Content: "嗨"}}}
	for chunk, err := range b.Chat(limited(t), bus.WorkerSubject("chat-1"), req, time.Minute) {
		must(t, err)
		text.WriteString(chunk.Delta)
		last = chunk
	}
	if text.String() != want.String() || last.GetFinishReason() != "stop" || last.GetUsage().GetTotalTokens() != 100 {
		t.Errorf("%q, %v", text.String(), last)
	}
}

// chatCancelled: whoever breaks off stops the worker.
func chatCancelled(t *testing.T, b *bus.Bus) {
	stopped := make(chan error, 1)
	serveChat(t, b, bus.WorkerSubject("chat-2"), func(ctx context.Context, _ *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
		if err := send(&pb.ChatChunk{Delta: "x"}); err != nil {
			return err
		}
		<-ctx.Done()
		stopped <- send(&pb.ChatChunk{Delta: "y"})
		return ctx.Err()
	})
	for _, err := range b.Chat(limited(t), bus.WorkerSubject("chat-2"), &pb.ChatRequest{}, time.Minute) {
		must(t, err)
		break
	}
	wantIs(t, receive(t, stopped), context.Canceled)
}

func chatErrors(t *testing.T, b *bus.Bus) {
	silent := make(chan struct{})
	defer close(silent)
	serveChat(t, b, bus.WorkerSubject("chat-3"), func(_ context.Context, req *pb.ChatRequest, _ func(*pb.ChatChunk) error) error {
		switch req.Model {
		case "none":
			return bus.Fail(&pb.Error{Class: "user", Code: "model_not_found", Message: "no adapter none"})
		case "panic":
			panic("oh")
		case "silent":
			<-silent
		}
		return nil
	})
	ask := func(ctx context.Context, subject, model string, silence time.Duration) (last error) {
		for _, err := range b.Chat(ctx, subject, &pb.ChatRequest{Model: model}, silence) {
			last = err
		}
		return last
	}
	var failed *bus.Failure
	if err := ask(limited(t), bus.WorkerSubject("chat-3"), "none", time.Minute); !errors.As(err, &failed) || failed.Detail.Code != "model_not_found" {
		t.Error(err)
	}
	if err := ask(limited(t), bus.WorkerSubject("chat-3"), "panic", time.Minute); !errors.As(err, &failed) || failed.Detail.Class != "bug" {
		t.Error(err)
	}
	wantIs(t, ask(limited(t), bus.WorkerSubject("chat-3"), "silent", 10*time.Millisecond), bus.ErrSilent)
	wantIs(t, ask(limited(t), bus.WorkerSubject("nobody"), "x", time.Minute), bus.ErrNoResponders)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, ask(cancelled, bus.WorkerSubject("chat-3"), "silent", time.Minute), context.Canceled)
}

// stockCLI: what a person types into the nats command works.
func stockCLI(t *testing.T, b *bus.Bus, url string) {
	cli := servertest.Binary(t, "nats")
	home := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(limited(t), cli, append([]string{"--server", url, "--no-context"}, args...)...)
		cmd.Env = append(cmd.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("nats %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	serveChat(t, b, "test.cli.chat", func(_ context.Context, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
		for _, word := range []string{"one", "two"} {
			if err := send(&pb.ChatChunk{Delta: word + " " + req.Prompt}); err != nil {
				return err
			}
		}
		return nil
	})
	out := run("req", "test.cli.chat", `{"prompt":"嗨"}`, "--wait-for-empty", "--raw")
	if !strings.Contains(out, `{"delta":"one 嗨"}`) || !strings.Contains(out, `{"delta":"two 嗨"}`) {
		t.Errorf("nats req: %s", out)
	}
	if out := run("req", "test.cli.chat", `{"promt":"x"}`, "--wait-for-empty", "--raw"); !strings.Contains(out, "promt") || !strings.Contains(out, "bad_request") {
		t.Errorf("nats req with a wrong field: %s", out)
	}
	run("pub", "finetune.request", `{"model":"m"}`)
	if out := run("stream", "ls", "--names"); !strings.Contains(out, "FINETUNE_JOBS") || !strings.Contains(out, "FINETUNE_DEAD") {
		t.Errorf("nats stream ls: %s", out)
	}
}

// drift: a stream of another kind under our name refuses the start and names
// what differs.
func drift(t *testing.T) {
	server := servertest.StartNATS(t)
	conn, err := nats.Connect(server.URL)
	must(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FINETUNE_INTAKE", Subjects: []string{"finetune.request"}})
	must(t, err)
	cfg := bus.Defaults()
	cfg.URL = server.URL
	_, err = bus.Connect(t.Context(), cfg, nil)
	if err == nil || !strings.Contains(err.Error(), "FINETUNE_INTAKE") || !strings.Contains(err.Error(), "retention") {
		t.Errorf("connected over a stream with another retention: %v", err)
	}
	// What can be updated is. It is made before the other is deleted: after the last stream of an account the server removes the folder, meanwhile
	// a new one may be put there, which then fails.
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FINETUNE_JOBS", Subjects: []string{"finetune.state.>"}})
	must(t, err)
	must(t, js.DeleteStream(t.Context(), "FINETUNE_INTAKE"))
	b, err := bus.Connect(t.Context(), cfg, nil)
	must(t, err)
	must(t, b.Close())
	stream, err := js.Stream(t.Context(), "FINETUNE_JOBS")
	must(t, err)
	if got := stream.CachedInfo().Config; !got.AllowAtomicPublish || len(got.Subjects) != 3 {
		t.Errorf("not updated: %+v", got)
	}
}

// chatDisconnected: a requester that went without a word stops the worker at the next chunk.
func chatDisconnected(t *testing.T, b *bus.Bus, url string) {
	stopped := make(chan error, 1)
	serveChat(t, b, "test.disconnected", func(ctx context.Context, _ *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
		for {
			if err := send(&pb.ChatChunk{Delta: "x"}); err != nil {
				stopped <- err
				return err
			}
		}
	})
	conn, err := nats.Connect(url)
	must(t, err)
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	must(t, err)
	must(t, conn.PublishRequest("test.disconnected", inbox, []byte(`{"prompt":"x"}`)))
	msg, err := sub.NextMsg(time.Minute)
	if err != nil || !strings.Contains(string(msg.Data), "x") {
		t.Errorf("first chunk %v, %v", msg, err)
	}
	conn.Close() // as after kill -9
	wantIs(t, receive(t, stopped), context.Canceled)
}

// chatDrained: a worker that ends finishes what was sent to it, says that it lives until then, and takes no more.
func chatDrained(t *testing.T, b *bus.Bus) {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	working, abandon := context.WithCancel(context.Background())
	defer abandon()
	ready, begun, goOn := make(chan struct{}), make(chan struct{}, 10), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- b.ServeWorker(lifecycle.WithWorking(ctx, working), "drained", func(ctx context.Context, _ *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
			begun <- struct{}{}
			select {
			case <-goOn:
				return send(&pb.ChatChunk{FinishReason: "stop"})
			case <-ctx.Done():
				return ctx.Err()
			}
		}, func() { close(ready) })
	}()
	receive(t, ready)
	answers := make(chan error, 2)
	ask := func() {
		var last error
		for _, err := range b.Chat(limited(t), bus.WorkerSubject("drained"), &pb.ChatRequest{}, time.Minute) {
			last = err
		}
		answers <- last
	}
	go ask()
	receive(t, begun)
	end()
	eventually(t, func() bool {
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // what it still takes it does not answer yet
		defer cancel()
		for _, err := range b.Chat(short, bus.WorkerSubject("drained"), &pb.ChatRequest{}, time.Minute) {
			return errors.Is(err, bus.ErrNoResponders)
		}
		return false
	})
	// It says that it lives to several questions while it finishes its work.
	short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	must(t, b.WatchWorker(short, "drained"))
	cancel()
	lost := make(chan error, 1)
	go func() { lost <- b.WatchWorker(limited(t), "drained") }()
	close(goOn)
	must(t, receive(t, answers))
	must(t, receive(t, ended))
	wantIs(t, receive(t, lost), bus.ErrLost)
}

// chatAbandoned: what a worker cannot finish in its grace is told to the requester.
func chatAbandoned(t *testing.T, b *bus.Bus) {
	working, abandon := context.WithCancel(context.Background())
	defer abandon()
	ready, begun := make(chan struct{}), make(chan struct{})
	background(t, func(ctx context.Context) error {
		return b.ServeChat(lifecycle.WithWorking(ctx, working), "test.abandoned", "", func(ctx context.Context, _ *pb.ChatRequest, _ func(*pb.ChatChunk) error) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}, func() { close(ready) })
	})
	receive(t, ready)
	go func() {
		<-begun
		abandon()
	}()
	var failed *bus.Failure
	for _, err := range b.Chat(limited(t), "test.abandoned", &pb.ChatRequest{}, time.Minute) {
		if !errors.As(err, &failed) || failed.Detail.GetClass() != "infrastructure" {
			t.Errorf("an abandoned request ends with %v", err)
		}
	}
	if failed == nil {
		t.Error("an abandoned request ends without a word")
	}
}

// TestChunks: a handler of this process is asked as another one is.
func TestChunks(t *testing.T) {
	t.Parallel()
	stopped := make(chan error, 1)
	handle := bus.ChatHandler(func(_ context.Context, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
		var wg sync.WaitGroup
		for range 3 { // as the choices of a request do
			wg.Go(func() {
				if err := send(&pb.ChatChunk{Delta: "x"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if req.GetModel() == "endless" {
			var err error
			for err == nil {
				err = send(&pb.ChatChunk{Delta: "y"})
			}
			stopped <- err
			return err
		}
		return errors.New("no more")
	})
	text, last := "", error(nil)
	for chunk, err := range handle.Chunks(t.Context(), &pb.ChatRequest{}) {
		text, last = text+chunk.GetDelta(), err
	}
	if text != "xxx" || last == nil || last.Error() != "no more" {
		t.Errorf("%q, %v", text, last)
	}
	for chunk, err := range handle.Chunks(t.Context(), &pb.ChatRequest{Model: "endless"}) {
		must(t, err)
		if chunk.GetDelta() == "y" {
			break
		}
	}
	wantIs(t, receive(t, stopped), context.Canceled)
}
