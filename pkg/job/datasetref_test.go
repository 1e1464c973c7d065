package job

import "testing"

func TestDigestRef(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ref, digest, file string }{
		{"sha256:ab", "sha256:ab", ""},
		{"sha256:ab/我的 rows.jsonl", "sha256:ab", "我的 rows.jsonl"},
		{"s3://a/b.txt", "s3://a/b.txt", ""},
		{"support", "support", ""},
	} {
		digest, file := SplitDigestRef(c.ref)
		if digest != c.digest || file != c.file || DigestRef(digest, file) != c.ref {
			t.Errorf("%s is %q and %q", c.ref, digest, file)
		}
	}
	for file, want := range map[string]bool{"book.txt": true, "a b,c=d.txt": true, "a/b.txt": false, "..": false, "": false, "a\nb": false} {
		if ValidFileName(file) != want {
			t.Errorf("%q: %v, want %v", file, !want, want)
		}
	}
	for want, d := range map[string]SpecDataset{
		"book.txt":  {Name: "book", Dataset: "sha256:ab/book.txt"},
		"a.jsonl":   {Name: "sha256:ab/a.jsonl", Dataset: "sha256:ab"},
		"support":   {Name: "support", Dataset: "sha256:ab"},
		"sha256:ab": {Name: "sha256:ab", Dataset: "sha256:ab"},
	} {
		if got := d.File(); got != want {
			t.Errorf("%+v is called %q, want %q", d, got, want)
		}
	}
}
