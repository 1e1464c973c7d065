package inference

import "strings"

// stopper passes text through until one of its stop texts appears. Text that may be the beginning of
// a stop text is held back until it is known not to be.
type stopper struct {
	stops []string
	held  string
}

// push takes new text and returns what can be sent; hit means that a stop text was found and nothing
// more will be sent.
func (s *stopper) push(text string) (out string, hit bool) {
	s.held += text
	first := -1
	for _, stop := range s.stops {
		if i := strings.Index(s.held, stop); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	if first >= 0 {
		out, s.held = s.held[:first], ""
		return out, true
	}
	keep := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
			}
		}
	}
	cut := len(s.held) - keep
	out, s.held = s.held[:cut], s.held[cut:]
	return out, false
}

// flush returns what is still held back.
func (s *stopper) flush() string {
	out := s.held
	s.held = ""
	return out
}
