package docs_test

import (
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^(#+) +(.+)$`)
	inline  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	scheme  = regexp.MustCompile(`^[a-z]+:`)
)

// links are the targets of the links and pictures of a page.
func links(t *testing.T, page string) (targets []string) {
	t.Helper()
	for _, found := range link.FindAllStringSubmatch(prose(t, page), -1) {
		targets = append(targets, found[1])
	}
	return targets
}

// anchors are the names under which the headings of a page are reached, as GitHub makes them.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(prose(t, page), -1) {
		text := inline.ReplaceAllString(found[2], "$1")
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
				return unicode.ToLower(r)
			}
			return -1
		}, text)
		unique := name
		for n := 1; all[unique]; n++ {
			unique = fmt.Sprintf("%s-%d", name, n)
		}
		all[unique] = true
	}
	return all
}

// resolve returns the path from the top of the repository that a link of a page leads to, and its anchor; ok is false for
// links that leave the repository.
func resolve(page, target string) (file, anchor string, ok bool) {
	if scheme.MatchString(target) {
		return "", "", false
	}
	target, anchor, _ = strings.Cut(target, "#")
	if target == "" {
		return page, anchor, true
	}
	return path.Join(path.Dir(page), target), anchor, true
}

// TestLinks follows every link of the manual that stays in the repository.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		for _, target := range links(t, page) {
			file, anchor, ok := resolve(page, target)
			if !ok {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere: %v", page, target, err)
				continue
			}
			if anchor != "" && !anchors(t, file)[anchor] {
				t.Errorf("%s: %s has no heading for #%s", page, file, anchor)
			}
		}
	}
}

// TestIndex wants a line for every page in the index of the manual, and a way there from both READMEs.
func TestIndex(t *testing.T) {
	t.Parallel()
	const index = "docs/README.md"
	listed := []string{index}
	for _, target := range links(t, index) {
		if file, _, ok := resolve(index, target); ok {
			listed = append(listed, file)
		}
	}
	for _, page := range pages(t) {
		if strings.HasPrefix(page, "docs/") {
			if !slices.Contains(listed, page) {
				t.Errorf("%s does not list %s", index, page)
			}
			continue
		}
		if !slices.ContainsFunc(links(t, page), func(target string) bool { file, _, ok := resolve(page, target); return ok && file == index }) {
			t.Errorf("%s has no link to %s", page, index)
		}
	}
}

// TestPictures wants every picture of the manual to be shown, and to be small.
func TestPictures(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, page := range pages(t) {
		for _, target := range links(t, page) {
			if file, _, ok := resolve(page, target); ok {
				shown[file] = true
			}
		}
	}
	pictures, err := os.ReadDir("images")
	if err != nil || len(pictures) == 0 {
		t.Fatalf("pictures %v: %v", pictures, err)
	}
	for _, picture := range pictures {
		file := "docs/images/" + picture.Name()
		if !shown[file] {
			t.Errorf("no page shows %s", file)
		}
		info, err := picture.Info()
		if err != nil {
			t.Fatal(err)
		}
		if text := []byte(read(t, file)); info.Size() > 150<<10 || http.DetectContentType(text) != "image/png" {
			t.Errorf("%s is %s of %d bytes; use a PNG of at most 150 KiB", file, http.DetectContentType(text), info.Size())
		}
	}
}
