package inference

import (
	"strings"
	"testing"

	"descant/pkg/pb"
)

// TestFromPublicationToAnswer follows adapters through the states of a worker: one that is ready answers as its newest
// version, one that is not what was trained is refused with the numbers and harms nobody.
func TestFromPublicationToAnswer(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker(t, "w-1", f.registry, nil)
	first, answer1 := f.publish(t, "a", 10, nil)
	f.until(t, "w-1", first.Version.GetDigest(), stateReady)
	f.wants(t, "a", answer1)

	second, answer2 := f.publish(t, "a", 11, nil)
	f.until(t, "w-1", second.Version.GetDigest(), stateReady)
	f.wants(t, "a", answer2)
	f.wants(t, "a@1", answer1)
	if answer1 == answer2 {
		t.Fatal("both versions answer the same: the test shows nothing")
	}

	for name, change := range map[string]func(*pb.AdapterManifest){
		"the trainer saw":              func(m *pb.AdapterManifest) { m.Probe.Logits[0]++ },
		"trained with the tokenizer":   func(m *pb.AdapterManifest) { m.TokenizerDigest = "sha256:other" },
		"trained with the chat templa": func(m *pb.AdapterManifest) { m.TemplateDigest = "sha256:other" },
		"with digest sha256:else":      func(m *pb.AdapterManifest) { m.BaseDigest = "sha256:else" },
	} {
		bad, _ := f.publish(t, "bad", 12, change)
		state := f.until(t, "w-1", bad.Version.GetDigest(), stateFailed)
		if !strings.Contains(state.GetReason(), name) || state.GetName() != "bad" {
			t.Errorf("the state is %v, want %q", state, name)
		}
		if _, _, err := f.ask(t.Context(), "w-1", bad.Pinned()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a request for it: %v, want %q", err, name)
		}
		f.wants(t, "a", answer2)
	}
	if _, by, err := f.ask(t.Context(), "w-1", "a@2*0.5+a@1*0.5"); err != nil || by != "a@2*0.5+a@1*0.5" {
		t.Errorf("the sum of two is answered by %q, %v", by, err)
	}
	f.wants(t, "a@1*1", answer1)
}
