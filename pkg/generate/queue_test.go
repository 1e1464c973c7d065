package generate

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"descant/pkg/device"
)

func TestAdaptersTakeTurns(t *testing.T) {
	t.Parallel()
	a, b := &adapter{key: "a"}, &adapter{key: "b"}
	var q queue
	push := func(list ...*adapter) {
		for _, x := range list {
			q.list = append(q.list, newSequence(t.Context(), Request{Prompt: []int32{int32(len(q.list))}}, x))
		}
	}
	push(a, a, a, a, nil, b, nil)
	var got []string
	pop := func() {
		s := q.pop()
		name := "base"
		if s.adapter != nil {
			name = s.adapter.key
		}
		got = append(got, name)
	}
	for range 5 {
		pop()
	}
	push(b)
	for len(q.list) > 0 {
		pop()
	}
	if want := strings.Fields("a base b a base b a a"); !slices.Equal(got, want) {
		t.Errorf("turns %v, want %v", got, want)
	}
}

// busy starts a request that talks until it is stopped, and waits for its first token.
func busy(t *testing.T, e *Engine) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	running, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var once sync.Once
		_, err := e.Generate(ctx, Request{Prompt: []int32{1}}, func(Token) error {
			once.Do(func() { close(running) })
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the busy request ended with %v", err)
		}
	}()
	<-running
	return func() {
		cancel()
		<-ended
	}
}

func TestFullQueueRefuses(t *testing.T) {
	t.Parallel()
	e := start(t, device.Go, filepath.Join(caseDir("qwen2-tied"), "base"),
		Options{MaxRows: 1, MaxContext: 20000, Slots: -1, MaxWaiting: 2})
	stop := busy(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			if _, err := e.Generate(ctx, Request{Prompt: []int32{1}}, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("waiting request ended with %v", err)
			}
		})
	}
	for e.Stats().Waiting < 2 {
		runtime.Gosched()
	}
	_, err := e.Generate(t.Context(), Request{Prompt: []int32{1}}, nil)
	var full *BusyError
	if !errors.Is(err, ErrBusy) || !errors.As(err, &full) || full.Waiting != 2 {
		t.Errorf("error %v for a request too many", err)
	}
	cancel()
	waiting.Wait()
	stop()
	if got := collect(t, e, Request{Prompt: []int32{1}, MaxTokens: 3}); len(got) != 3 {
		t.Errorf("%d tokens after the crowd has left", len(got))
	}
}

func TestWaitingEndsAtTheLimit(t *testing.T) {
	t.Parallel()
	e := start(t, device.Go, filepath.Join(caseDir("qwen2-tied"), "base"),
		Options{MaxRows: 1, MaxContext: 20000, Slots: -1, MaxWait: time.Millisecond})
	// The one row stays taken, so that the request can only end by the limit.
	stop := busy(t, e)
	defer stop()
	_, err := e.Generate(t.Context(), Request{Prompt: []int32{1}}, nil)
	var late *LateError
	if !errors.Is(err, ErrLate) || !errors.As(err, &late) || late.Waited < late.Limit {
		t.Errorf("error %v", err)
	}
}

func TestLongPromptsAreNotPassedOverForEver(t *testing.T) {
	t.Parallel()
	long := newSequence(t.Context(), Request{Prompt: make([]int32, 1000)}, nil)
	for turn := range 2 * (patience + 1) {
		short := newSequence(t.Context(), Request{Prompt: make([]int32, 5)}, nil)
		next := nextPrompt([]*sequence{nil, long, short})
		if wantLong := turn%(patience+1) == patience; (next == long) != wantLong {
			t.Errorf("turn %d: the long prompt has its turn: %v", turn, next == long)
		}
	}
}
