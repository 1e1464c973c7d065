package route

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBus has workers that do what a test says.
type fakeBus struct {
	adverts chan bus.Advert

	mu      sync.Mutex
	workers map[string]*fakeWorker
	asked   []string
}

type fakeWorker struct {
	answer func(ctx context.Context, yield func(*pb.ChatChunk, error) bool)
	died   chan struct{}
}

func (f *fakeBus) WatchAdverts(ctx context.Context) iter.Seq2[bus.Advert, error] {
	return func(yield func(bus.Advert, error) bool) {
		for {
			select {
			case one := <-f.adverts:
				if !yield(one, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (f *fakeBus) Chat(ctx context.Context, subject string, _ *pb.ChatRequest, _ time.Duration) iter.Seq2[*pb.ChatChunk, error] {
	return func(yield func(*pb.ChatChunk, error) bool) {
		f.mu.Lock()
		id := strings.TrimPrefix(subject, bus.WorkerSubject(""))
		f.asked = append(f.asked, id)
		w := f.workers[id]
		f.mu.Unlock()
		if w == nil {
			yield(nil, bus.ErrNoResponders)
			return
		}
		w.answer(ctx, yield)
	}
}

func (f *fakeBus) WatchWorker(ctx context.Context, worker string) error {
	f.mu.Lock()
	w := f.workers[worker]
	f.mu.Unlock()
	if w == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-w.died:
		return bus.ErrLost
	}
}

// says answers with words and the end.
func says(words ...string) *fakeWorker {
	return &fakeWorker{answer: func(_ context.Context, yield func(*pb.ChatChunk, error) bool) {
		for _, word := range words {
			if !yield(&pb.ChatChunk{Delta: word}, nil) {
				return
			}
		}
		yield(&pb.ChatChunk{FinishReason: "stop", Usage: new(pb.Usage)}, nil)
	}}
}

// refuses fails with a code.
func refuses(class job.Class, code job.Code) *fakeWorker {
	return &fakeWorker{answer: func(_ context.Context, yield func(*pb.ChatChunk, error) bool) {
		yield(nil, bus.Fail(&pb.Error{Class: string(class), Code: string(code), Message: "no"}))
	}}
}

// dies says words and is gone.
func dies(words ...string) *fakeWorker {
	w := &fakeWorker{died: make(chan struct{})}
	w.answer = func(ctx context.Context, yield func(*pb.ChatChunk, error) bool) {
		for _, word := range words {
			if !yield(&pb.ChatChunk{Delta: word}, nil) {
				return
			}
		}
		close(w.died)
		<-ctx.Done()
		yield(nil, fmt.Errorf("ask: %w", ctx.Err()))
	}
	return w
}

// ends closes the stream without an end.
func ends() *fakeWorker {
	return &fakeWorker{answer: func(context.Context, func(*pb.ChatChunk, error) bool) {}}
}

func advert(id string, free uint32) *pb.WorkerAdvert {
	return &pb.WorkerAdvert{Id: id, Ready: true, Bases: []*pb.BaseAdvert{{Base: "base", Digest: "b", Rows: 8, FreeRows: free}}}
}

// start runs a router over workers named a, b, c …, of which the first are the best.
func start(t *testing.T, cfg Config, workers ...*fakeWorker) (*Router, *fakeBus) {
	t.Helper()
	f := &fakeBus{adverts: make(chan bus.Advert, 100), workers: map[string]*fakeWorker{}}
	for i, w := range workers {
		id := string(rune('a' + i))
		if w != nil {
			f.workers[id] = w
		}
		f.adverts <- bus.Advert{Worker: id, Info: advert(id, uint32(8-i))}
	}
	f.adverts <- bus.Advert{Current: true}
	r := New(cfg, f, func(context.Context, *pb.ChatRequest) Wish { return Wish{Base: "base"} }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	listed, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, func() { close(listed) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	<-listed
	return r, f
}

func TestChatFindsAWorker(t *testing.T) {
	t.Parallel()
	overloaded := func() *fakeWorker { return refuses(job.Infrastructure, job.CodeOverloaded) }
	tests := map[string]struct {
		workers []*fakeWorker
		text    string
		code    job.Code // of the error, "" for none
		asked   string
	}{
		"the best one":                   {[]*fakeWorker{says("hi"), says("no")}, "hi", "", "a"},
		"one that is no longer there":    {[]*fakeWorker{nil, says("hi")}, "hi", "", "a b"},
		"dies before the first word":     {[]*fakeWorker{dies(), says("hi")}, "hi", "", "a b"},
		"ends without a word":            {[]*fakeWorker{ends(), says("hi")}, "hi", "", "a b"},
		"dies after the first word":      {[]*fakeWorker{dies("he"), says("hi")}, "he", job.CodeWorkerLost, "a"},
		"overloaded":                     {[]*fakeWorker{overloaded(), says("hi")}, "hi", "", "a b"},
		"all overloaded":                 {[]*fakeWorker{overloaded(), overloaded()}, "", job.CodeOverloaded, "a b"},
		"overloaded, and the other dies": {[]*fakeWorker{overloaded(), dies()}, "", job.CodeOverloaded, "a b"},
		"waited in vain":                 {[]*fakeWorker{refuses(job.Infrastructure, job.CodeQueueTimeout), says("hi")}, "", job.CodeQueueTimeout, "a"},
		"a wrong request":                {[]*fakeWorker{refuses(job.User, job.CodeBadRequest), says("hi")}, "", job.CodeBadRequest, "a"},
		"a request that kills":           {[]*fakeWorker{dies(), dies(), dies(), says("hi")}, "", job.CodeInternal, "a b c"},
		"nobody":                         {nil, "", job.CodeNoWorker, ""},
		"nobody that is there":           {[]*fakeWorker{nil, nil}, "", job.CodeNoWorker, "a b"},
		"its own error after a first word": {[]*fakeWorker{{answer: func(_ context.Context, yield func(*pb.ChatChunk, error) bool) {
			_ = yield(&pb.ChatChunk{Delta: "he"}, nil) && yield(nil, bus.Fail(&pb.Error{Class: "infrastructure", Code: "not_ready"}))
		}}, says("hi")}, "he", job.CodeNotReady, "a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, f := start(t, Config{Wait: time.Millisecond, MaxWaiting: 10}, tt.workers...)
			text, err := "", error(nil)
			for chunk, e := range r.Ask(t.Context(), &pb.ChatRequest{}) {
				text, err = text+chunk.GetDelta(), e
			}
			if text != tt.text || code(err) != tt.code || strings.Join(f.asked, " ") != tt.asked {
				t.Errorf("text %q, error %v, asked %v; want %q, %q, %q", text, err, f.asked, tt.text, tt.code, tt.asked)
			}
		})
	}
}

// code is that of an error as it travels.
func code(err error) job.Code {
	var failed *bus.Failure
	if errors.As(err, &failed) {
		return job.Code(failed.Detail.GetCode())
	}
	if classed := job.AsError("", err); classed != nil {
		return classed.Code
	}
	return ""
}

func TestChatWaitsForAWorker(t *testing.T) {
	t.Parallel()
	r, f := start(t, Config{Wait: time.Minute, MaxWaiting: 1}, nil) // a has gone, its advert is still there
	first := make(chan error, 1)
	go func() { first <- r.Chat(t.Context(), &pb.ChatRequest{}, func(*pb.ChatChunk) error { return nil }) }()
	for r.waiting.Load() == 0 {
		runtime.Gosched()
	}
	err := r.Chat(t.Context(), &pb.ChatRequest{}, nil)
	if classed := job.AsError("", err); code(err) != job.CodeOverloaded || classed.RetryAfter <= 0 {
		t.Errorf("the second that waits gets %v", err)
	}
	f.mu.Lock()
	f.workers["a"] = says("hi") // started again under its name
	f.mu.Unlock()
	f.adverts <- bus.Advert{Worker: "a", Info: &pb.WorkerAdvert{Id: "a"}} // not ready yet
	f.adverts <- bus.Advert{Worker: "a", Info: advert("a", 8)}
	if err := <-first; err != nil {
		t.Errorf("the request that waited got %v", err)
	}
}

func TestChatEndsWithItsRequester(t *testing.T) {
	t.Parallel()
	asking := make(chan struct{})
	stopped := make(chan struct{})
	r, _ := start(t, Config{Wait: time.Minute, MaxWaiting: 1}, &fakeWorker{answer: func(ctx context.Context, yield func(*pb.ChatChunk, error) bool) {
		close(asking)
		<-ctx.Done()
		close(stopped)
		yield(nil, ctx.Err())
	}}, says("hi"))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asking; cancel() }()
	if err := r.Chat(ctx, &pb.ChatRequest{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	<-stopped
}

// TestPickSpreadsABurst: requests that come faster than adverts are counted all the same.
func TestPickSpreadsABurst(t *testing.T) {
	t.Parallel()
	tab := newTable()
	for _, id := range []string{"a", "b", "c"} {
		tab.put(advert(id, 8))
	}
	got, dones := map[string]int{}, []func(){}
	for range 24 {
		id, done, _ := tab.pick(Wish{Base: "base"}, nil)
		got[id]++
		dones = append(dones, done)
	}
	for id, n := range got {
		if n != 8 {
			t.Errorf("%s got %d of 24 requests, want 8", id, n)
		}
	}
	// An advert that tells of what is over already does not hide the free rows for ever.
	tab.put(advert("a", 0))
	for _, done := range dones {
		done()
	}
	if w := tab.workers["a"].worker("a"); w.Bases[0].Load != 0 {
		t.Errorf("load %d after all is done, want 0", w.Bases[0].Load)
	}
	for i := range 3 { // whatever clients write as a model
		_, done, _ := tab.pick(Wish{Base: fmt.Sprintf("nonsense-%d", i)}, nil)
		done()
	}
	for id, e := range tab.workers {
		if len(e.running) > 0 {
			t.Errorf("%s is remembered with %v after all is done", id, e.running)
		}
	}
	drained := advert("b", 8)
	drained.Draining = true
	tab.put(drained)
	tab.put(&pb.WorkerAdvert{Id: "c"})
	tab.remove("a")
	if id, _, _ := tab.pick(Wish{Base: "base"}, nil); id != "" {
		t.Errorf("%s was picked, which ends or has not begun", id)
	}
}

// TestPickAsksWorkersThatStartLast: one that still compiles is asked only where nobody is ready, and one without a base, or that
// is about to end, never.
func TestPickAsksWorkersThatStartLast(t *testing.T) {
	t.Parallel()
	tab := newTable()
	starting, draining := advert("starting", 8), advert("draining", 8)
	starting.Ready, draining.Ready, draining.Draining = false, false, true
	for _, one := range []*pb.WorkerAdvert{starting, draining, {Id: "empty"}, advert("ready", 0)} {
		tab.put(one)
	}
	tried := map[string]bool{}
	for _, want := range []string{"ready", "starting", ""} {
		id, done, _ := tab.pick(Wish{Base: "base"}, tried)
		if id != want {
			t.Errorf("after %v %q is picked, want %q", tried, id, want)
		}
		if done != nil {
			done()
		}
		tried[id] = true
	}
}
