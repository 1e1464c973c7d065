package docs_test

import (
	"regexp"
	"slices"
	"testing"
)

var (
	metric  = regexp.MustCompile("`((?:vllm:|process_|descant_)[a-z0-9_]+)`")
	exposed = regexp.MustCompile(`(?m)^# TYPE (\S+) `)
)

// metrics checks that a system that has answered has the metrics that pages name.
func (m *manual) metrics(t *testing.T) {
	t.Helper()
	m.must(t, `nats req inference.chat '{"model":"my-adapter","prompt":"Say 3","max_tokens":8,"ignore_eos":true}' --wait-for-empty`)
	var there []string
	for _, name := range exposed.FindAllStringSubmatch(m.must(t, "curl http://"+m.health+"/metrics"), -1) {
		there = append(there, name[1])
	}
	seen := 0
	for _, page := range pages(t) {
		for _, name := range metric.FindAllStringSubmatch(prose(t, page), -1) {
			seen++
			if !slices.Contains(there, name[1]) {
				t.Errorf("%s: there is no metric %s", page, name[1])
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d metrics were found in the pages", seen)
	}
}
