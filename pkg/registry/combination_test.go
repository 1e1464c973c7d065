package registry_test

import (
	"fmt"
	"strings"
	"testing"

	"descant/pkg/pb"
	"descant/pkg/registry"
)

func TestCombinations(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	reg, _ := open(t)
	for _, name := range []string{"a", "a", "b", "other"} {
		base := "m"
		if name == "other" {
			base = "n"
		}
		if _, err := reg.Publish(ctx, adapterFolder(t, fmt.Sprint(name, t.Name())), &pb.AdapterManifest{Name: name, Job: fmt.Sprintf("ft-%s-%p", name, new(int)), Base: base, BaseDigest: "sha256:" + base}); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]string{}
	for text, want := range map[string]string{
		"a": "a@2", "a@1": "a@1", "a+b": "a@2+b@1", "b+a": "b@1+a@2", "a*0.70+b@1*3e-1": "a@2*0.7+b@1*0.3", "a*0.5": "a@2*0.5", "a*1": "a@2", "a+a@1": "a@2+a@1",
	} {
		c, err := reg.ResolveModel(ctx, text, "")
		if err != nil || c.Pinned() != want {
			t.Errorf("%s is %s, %v; want %s", text, c.Pinned(), err, want)
			continue
		}
		keys[text] = c.Key()
		if again, err := reg.ResolveModel(ctx, c.Reference(), ""); err != nil || again.Key() != c.Key() || !registry.IsModel(c.Reference()) {
			t.Errorf("%s by its digests %s is %v, %v", text, c.Reference(), again, err)
		}
	}
	if keys["a+b"] != keys["b+a"] || keys["a"] != keys["a*1"] || keys["a"] == keys["a*0.5"] || keys["a+b"] == keys["a*0.70+b@1*3e-1"] || keys["a"] == keys["a@1"] {
		t.Errorf("keys = %v", keys)
	}
	for text, want := range map[string]string{
		"a+": "cannot be read", "a*": "weight", "a*0": "weight", "a*-1": "weight", "a*NaN": "weight", "a*1e9": "weight", "a*b": "weight",
		"a+other": "two bases", "a+c": `there is no adapter "c"`, strings.Repeat("a+", 8) + "a": "at most 8",
	} {
		if _, err := reg.ResolveModel(ctx, text, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
	for text, want := range map[string]bool{"a": true, "a@1+b*2": true, "org/base": false, "/dir/a+b": false, "builtin:tiny": false, "": false} {
		if registry.IsModel(text) != want {
			t.Errorf("IsModel(%q) is %v", text, !want)
		}
	}
}
