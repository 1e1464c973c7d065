package docs_test

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	item       = regexp.MustCompile(`(?m)^ *(\*|\d+\.) `)
	tableRow   = regexp.MustCompile(`(?m)^\|.*\|$`)
	comment    = regexp.MustCompile(`(?m)\s+# .*$`)
	translated = regexp.MustCompile(`"[^"]*[^\x00-\x7f][^"]*"`)
)

// TestTwins holds each page that is there in two languages to one structure: headings, blocks of code, lists, tables, code in
// the text and links are the same.
func TestTwins(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, twin := range pages(t) {
		if !strings.HasSuffix(twin, ".zh-CN.md") {
			continue
		}
		seen++
		page := strings.TrimSuffix(twin, ".zh-CN.md") + ".md"
		for what, of := range map[string]func(*testing.T, string) []string{
			"heading levels": levels, "block of code": codeOf, "list or table": shape, "code in the text": spansOf, "link": linksOf,
		} {
			ours, theirs := of(t, page), of(t, twin)
			for i := range max(len(ours), len(theirs)) {
				if i >= len(ours) || i >= len(theirs) || ours[i] != theirs[i] {
					t.Errorf("%s and %s differ in a %s, the first time at number %d:\n%q\n%q", page, twin, what, i+1, ours[min(i, len(ours)):min(i+2, len(ours))], theirs[min(i, len(theirs)):min(i+2, len(theirs))])
					break
				}
			}
		}
	}
	if seen < 2 {
		t.Errorf("only %d pages have a twin", seen)
	}
}

// levels are the marks of the headings in their order.
func levels(t *testing.T, page string) (marks []string) {
	t.Helper()
	for _, found := range heading.FindAllStringSubmatch(prose(t, page), -1) {
		marks = append(marks, found[1])
	}
	return marks
}

// codeOf are the blocks of code in their order, without comments and with a mark for strings that are in another language.
func codeOf(t *testing.T, page string) (all []string) {
	t.Helper()
	for _, b := range blocks(t, page) {
		all = append(all, b.language+"\n"+translated.ReplaceAllString(comment.ReplaceAllString(b.text, ""), `"…"`))
	}
	return all
}

// shape says how many list items and rows of tables each section has.
func shape(t *testing.T, page string) (all []string) {
	t.Helper()
	for i, section := range heading.Split(prose(t, page), -1) {
		all = append(all, fmt.Sprintf("section %d: %d items, %d rows", i, len(item.FindAllString(section, -1)), len(tableRow.FindAllString(section, -1))))
	}
	return all
}

// spansOf is the code in the text of each section; sentences of two languages may name it in another order.
func spansOf(t *testing.T, page string) (all []string) {
	t.Helper()
	for i, section := range heading.Split(prose(t, page), -1) {
		var code []string
		for _, found := range span.FindAllStringSubmatch(section, -1) {
			code = append(code, strings.Join(strings.Fields(found[1]), " "))
		}
		slices.Sort(code)
		all = append(all, fmt.Sprintf("section %d: %q", i, code))
	}
	return all
}

// linksOf are the targets of each section, those to a page and to its twin being one.
func linksOf(t *testing.T, page string) (all []string) {
	t.Helper()
	for i, section := range heading.Split(prose(t, page), -1) {
		var targets []string
		for _, found := range link.FindAllStringSubmatch(section, -1) {
			target := strings.Replace(found[1], ".zh-CN.md", ".md", 1)
			if target != path.Base(strings.Replace(page, ".zh-CN.md", ".md", 1)) { // from one language to the other
				targets = append(targets, target)
			}
		}
		slices.Sort(targets)
		all = append(all, fmt.Sprintf("section %d: %q", i, targets))
	}
	return all
}
