package generate

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"descant/pkg/device"

	"github.com/gomlx/compute"
)

// unshared is a backend whose buffers Go cannot write, as on a GPU.
type unshared struct{ compute.Backend }

func (unshared) HasSharedBuffers() bool { return false }

// TestDeviceWithoutSharedMemory runs the graphs that update the cache themselves, through all its sizes.
func TestDeviceWithoutSharedMemory(t *testing.T) {
	t.Parallel()
	dir := caseDir(twoAdapters)
	opts := Options{MaxRows: 2, MaxContext: 280, Slots: 1}
	want := start(t, device.Go, filepath.Join(dir, "base"), opts)
	got, err := newEngine(unshared{openDevice(t, device.XLA).Backend()}, filepath.Join(dir, "base"), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	for _, e := range []*Engine{want, got} {
		if err := e.LoadAdapter(t.Context(), "a", filepath.Join(dir, "adapter")); err != nil {
			t.Fatal(err)
		}
	}
	requests := []Request{
		{Prompt: slices.Repeat([]int32{9, 8, 7, 6}, 60), MaxTokens: 40, Adapter: "a"},
		{Prompt: []int32{1, 2, 3}, MaxTokens: 30},
		{Prompt: slices.Repeat([]int32{3, 5}, 35), MaxTokens: 30, Adapter: "a"},
	}
	results := make([][]int32, len(requests))
	var wg sync.WaitGroup
	for i, req := range requests {
		wg.Go(func() { results[i] = collect(t, got, req) })
	}
	wg.Wait()
	for i, req := range requests {
		if ids := collect(t, want, req); !slices.Equal(ids, results[i]) {
			t.Errorf("request %d: %v, want %v", i, results[i], ids)
		}
	}
}

// failing is a backend like [unshared] of which one step fails when it is told so, and takes what was donated with it.
type failing struct {
	unshared
	now *atomic.Bool
}

type failingBuilder struct {
	compute.Builder
	now *atomic.Bool
}

type failingProgram struct {
	compute.Executable
	now *atomic.Bool
}

func (f failing) Builder(name string) compute.Builder {
	return failingBuilder{f.unshared.Builder(name), f.now}
}

func (b failingBuilder) Compile() (compute.Executable, error) {
	program, err := b.Builder.Compile()
	return failingProgram{program, b.now}, err
}

func (p failingProgram) Execute(inputs []compute.Buffer, donate []bool, device compute.DeviceNum) ([]compute.Buffer, error) {
	if slices.Contains(donate, true) && p.now.CompareAndSwap(true, false) {
		return nil, errors.New("out of memory")
	}
	return p.Executable.Execute(inputs, donate, device)
}

// TestStepThatLosesTheCache has a step fail to which the cache was donated: all rows that were in there end with the reason, and the next
// request gets its answer from a new cache.
func TestStepThatLosesTheCache(t *testing.T) {
	t.Parallel()
	base := filepath.Join(caseDir(twoAdapters), "base")
	opts := Options{MaxRows: 3, MaxContext: 256}
	var now atomic.Bool
	e, err := newEngine(failing{unshared{openDevice(t, device.XLA).Backend()}, &now}, base, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	short := Request{Prompt: []int32{1, 2, 3}, MaxTokens: 20}
	want := collect(t, start(t, device.Go, base, opts), short)
	for range 2 {
		var wg sync.WaitGroup
		var answering sync.WaitGroup
		answering.Add(2)
		for row := range int32(2) {
			wg.Go(func() {
				begun := sync.OnceFunc(answering.Done)
				defer begun() // if it fails before it says anything
				said := 0
				_, err := e.Generate(t.Context(), Request{Prompt: []int32{4, 5, row}, MaxTokens: 200}, func(Token) error {
					said++
					begun()
					return nil
				})
				if err == nil || !strings.Contains(err.Error(), "out of memory") {
					t.Errorf("row %d ends after %d tokens with the error %v", row, said, err)
				}
			})
		}
		answering.Wait()
		now.Store(true)
		wg.Wait()
		if ids := collect(t, e, short); !slices.Equal(ids, want) {
			t.Errorf("afterwards the answer is %v, want %v", ids, want)
		}
	}
}
