package inference

import (
	"strings"
	"testing"
)

func TestStopper(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		stops  []string
		pieces []string
		want   string
		hit    bool
	}{
		"none":              {nil, []string{"a", "b"}, "ab", false},
		"in one piece":      {[]string{"END"}, []string{"oneENDtwo"}, "one", true},
		"over pieces":       {[]string{"END"}, []string{"oneE", "N", "Dtwo"}, "one", true},
		"only a beginning":  {[]string{"END"}, []string{"oneEN", "tree"}, "oneENtree", false},
		"beginning at end":  {[]string{"END"}, []string{"oneEN"}, "oneEN", false},
		"first of two":      {[]string{"two", "one"}, []string{"a one two"}, "a ", true},
		"repeated start":    {[]string{"aab"}, []string{"a", "a", "a", "b"}, "a", true},
		"multi-byte":        {[]string{"结束"}, []string{"你好结", "束了"}, "你好", true},
		"longest held back": {[]string{"ab", "bcd"}, []string{"xabc"}, "x", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := stopper{stops: tt.stops}
			var out strings.Builder
			hit := false
			for _, piece := range tt.pieces {
				var text string
				text, hit = s.push(piece)
				out.WriteString(text)
				if hit {
					break
				}
			}
			if !hit {
				out.WriteString(s.flush())
			}
			if out.String() != tt.want || hit != tt.hit {
				t.Errorf("got %q, hit %v; want %q, %v", out.String(), hit, tt.want, tt.hit)
			}
		})
	}
}
