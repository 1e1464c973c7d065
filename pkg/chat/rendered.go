package chat

import (
	"slices"

	"descant/pkg/chat/internal/jinja"
)

// Span is the byte range [Start, End) of a rendered text.
type Span struct{ Start, End int }

// Origin is a stretch that came from outside the template. Message is the index of its message, or
// -1 for tools and further variables. An empty value has Start == End.
type Origin struct {
	Span
	Message int
}

// Rendered is a conversation as text, with where its bytes come from. Bytes in no origin were
// written by the template.
type Rendered struct {
	Text string
	// Origins are sorted by Start.
	Origins []Origin
	// Generation are the spans of generation blocks in order; empty blocks have Start == End. It is
	// nil where no generation block was rendered.
	Generation []Span

	messages []Message
}

func newRendered(t jinja.Text, messages []Message) *Rendered {
	r := &Rendered{Text: t.S, messages: messages}
	for _, m := range t.Marks {
		span := Span{m.Start, m.End}
		if m.Source == jinja.SourceGeneration {
			r.Generation = append(r.Generation, span)
		} else {
			r.Origins = append(r.Origins, Origin{span, m.Source})
		}
	}
	slices.SortStableFunc(r.Origins, func(a, b Origin) int { return a.Start - b.Start })
	return r
}

// Turn is the stretch of a rendered text that one assistant message put there: from its first byte
// to its last, with what the template wrote between.
type Turn struct {
	Span
	// After is where the template's text before this turn begins, Until where the text after it
	// ends: the ends of the neighbours' stretches.
	After, Until int
	// Message is the index of the message.
	Message int
}

// GeneratedBy returns the index of the assistant message that a generation block renders: that of the first of its texts in
// the block, else the last one before its end; -1 where there is none.
func (r *Rendered) GeneratedBy(block Span) int {
	found := -1
	for _, o := range r.Origins {
		if o.Start > block.End {
			break
		}
		if o.Message < 0 || r.messages[o.Message].Role != "assistant" {
			continue
		}
		found = o.Message
		if o.Start >= block.Start {
			break
		}
	}
	return found
}

// AssistantTurns returns the stretches of assistant messages, in order, by the origins alone.
func (r *Rendered) AssistantTurns() []Turn {
	var turns []Turn
	after, last := 0, -2
	for _, o := range r.Origins {
		assistant := o.Message >= 0 && r.messages[o.Message].Role == "assistant"
		if n := len(turns); n > 0 && turns[n-1].Until < 0 {
			if assistant && o.Message == last {
				turns[n-1].End = max(turns[n-1].End, o.End)
				after = max(after, o.End)
				continue
			}
			turns[n-1].Until = o.Start
		}
		if assistant {
			turns = append(turns, Turn{Span: o.Span, After: after, Until: -1, Message: o.Message})
		}
		last = o.Message
		after = max(after, o.End)
	}
	if n := len(turns); n > 0 && turns[n-1].Until < 0 {
		turns[n-1].Until = len(r.Text)
	}
	return turns
}
