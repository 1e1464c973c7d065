package inference

import (
	"strings"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// TestWeightedModels asks for sums of adapters by name: each answers as the part that outweighs the other does, under the
// versions of both, and one that cannot be made says why.
func TestWeightedModels(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker(t, "w-1", f.registry, nil)
	_, one := f.publish(t, "one", 10, nil)
	_, two := f.publish(t, "two", 40, nil)
	for model, want := range map[string]struct{ answer, by string }{
		"one*1+two*0.0001": {one, "one@1+two@1*0.0001"},
		"two@1+one*0.0001": {two, "two@1+one@1*0.0001"},
	} {
		if got, by, err := f.ask(t.Context(), "w-1", model); err != nil || got != want.answer || by != want.by {
			t.Errorf("%s answers %q by %s, %v; want %q by %s", model, got, by, err, want.answer, want.by)
		}
	}
	for _, err := range f.bus.Chat(t.Context(), bus.WorkerSubject("w-1"), &pb.ChatRequest{Model: "one+nobody", Prompt: question}, time.Minute) {
		if err == nil || !strings.Contains(err.Error(), `no adapter "nobody"`) {
			t.Errorf("error %v", err)
		}
	}
}
