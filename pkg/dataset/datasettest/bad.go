// Package datasettest holds the cases of nasty input for the tests of all ways by which rows come in.
package datasettest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Outcomes of a case.
const (
	Accept = "accept"
	Reject = "reject"
	Either = "either"
)

// BadCase is one entry of expected.json in a folder of nasty inputs.
type BadCase struct {
	File    string   `json:"file"`
	Outcome string   `json:"outcome"`
	Rows    *int     `json:"rows"`
	Lines   []int    `json:"lines"`
	Fields  []string `json:"fields"`
	SHA256  string   `json:"sha256"`
	// Says is a list of words that the refusal or the report must hold.
	Says []string `json:"says"`
}

// BadCases reads the cases of DESCANT_BAD_DIR, or of the project's own folder without it. Every file of the folder must be
// a case, and the file that the case was written for.
func BadCases(t testing.TB, own string) (dir string, cases []BadCase) {
	t.Helper()
	dir = os.Getenv("DESCANT_BAD_DIR")
	if dir == "" {
		dir = own
	}
	dir, err := filepath.Abs(dir) // some tests change the working folder
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatalf("%s: expected.json: %v", dir, err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s holds no case", dir)
	}
	known := map[string]bool{"expected.json": true, "README.md": true}
	for _, c := range cases {
		c.check(t, dir, known[c.File])
		known[c.File] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); !known[name] && !strings.HasSuffix(name, ".sh") {
			t.Errorf("%s: %s is no case of expected.json", dir, name)
		}
	}
	return dir, cases
}

// check holds that the case is one, of a file that is there.
func (c BadCase) check(t testing.TB, dir string, twice bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, c.File))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if c.SHA256 != "" && c.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("%s is another file than that of its case", c.File)
	}
	if twice || c.Outcome != Accept && c.Outcome != Reject && c.Outcome != Either {
		t.Errorf("%s: outcome %q, or a case that is there twice", c.File, c.Outcome)
	}
}
