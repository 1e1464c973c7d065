package inference

import (
	"math"
	"strings"
	"testing"

	"descant/pkg/pb"
)

func TestProve(t *testing.T) {
	t.Parallel()
	told := &pb.Probe{Prompt: []int32{1, 2}, Ids: []int32{0, 2}, Logits: []float32{10, -5}, BaseLogits: []float32{9, -4}, Dtype: "f32"}
	bf16 := &pb.Probe{Prompt: told.Prompt, Ids: told.Ids, Logits: told.Logits, BaseLogits: told.BaseLogits, Dtype: "bf16"}
	nan := float32(math.NaN())
	for name, tt := range map[string]struct {
		probe  *pb.Probe
		logits []float32
		want   string // in the error; empty for none
	}{
		"the same":          {told, []float32{10, 99, -5}, ""},
		"rounded":           {told, []float32{10.015, 99, -5.015}, ""},
		"the base":          {told, []float32{9, 99, -4}, "the logit of id 0 is 9, the trainer saw 10 (the bare base gave it 9); 0.02 is allowed"},
		"one is off":        {told, []float32{10, 99, -4.9}, "id 2 is -4.9"},
		"no number":         {told, []float32{10, 99, nan}, "id 2 is NaN"},
		"bf16 rounded":      {bf16, []float32{10.3, 99, -5}, ""},
		"bf16 is off":       {bf16, []float32{9, 99, -5}, "0.5 is allowed"},
		"nothing was told":  {nil, []float32{1}, ""},
		"a vocabulary less": {told, []float32{10, 99}, "id 2, the base has 2"},
		"a broken manifest": {&pb.Probe{Prompt: []int32{1}, Ids: []int32{1, 2}, Logits: []float32{1}}, []float32{1, 1, 1}, "2 ids, 1 logits"},
	} {
		err := prove(t.Context(), &fakeEngine{logits: tt.logits}, "key", "my-adapter@1", tt.probe, false)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
	}
}

// TestProveWhatIsRounded: a base or adapters in bf16 round what a trainer computed in f32.
func TestProveWhatIsRounded(t *testing.T) {
	t.Parallel()
	told := &pb.Probe{Prompt: []int32{1}, Ids: []int32{0}, Logits: []float32{10}, BaseLogits: []float32{9}, Dtype: "f32"}
	for _, rounds := range []bool{false, true} {
		if err := prove(t.Context(), &fakeEngine{logits: []float32{10.3}}, "key", "my-adapter@1", told, rounds); (err == nil) != rounds {
			t.Errorf("%v: %v", rounds, err)
		}
	}
	if err := prove(t.Context(), &fakeEngine{logits: []float32{9}}, "key", "my-adapter@1", told, true); err == nil {
		t.Error("the bare base passes for the adapter")
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	here := digests{tokenizer: "sha256:t", template: "sha256:c"}
	for name, tt := range map[string]struct {
		manifest *pb.AdapterManifest
		want     string
	}{
		"the same":  {&pb.AdapterManifest{TokenizerDigest: "sha256:t", TemplateDigest: "sha256:c"}, ""},
		"unknown":   {&pb.AdapterManifest{}, ""},
		"tokenizer": {&pb.AdapterManifest{TokenizerDigest: "sha256:other", TemplateDigest: "sha256:c"}, "trained with the tokenizer sha256:other, its base here has sha256:t"},
		"template":  {&pb.AdapterManifest{TokenizerDigest: "sha256:t", TemplateDigest: "sha256:other"}, "trained with the chat template sha256:other"},
	} {
		err := fits("my-adapter@1", tt.manifest, here)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
