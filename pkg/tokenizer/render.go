package tokenizer

import (
	"slices"
	"strings"

	"descant/pkg/chat"
)

// Encoded is a conversation as ids.
type Encoded struct {
	IDs []int32
	// Trained says for each id whether it belongs to an answer: the text of an assistant message,
	// what the template adds to it, and its end of turn.
	Trained []bool
	// Answers is for each id the index of the message whose answer it belongs to, or -1.
	Answers []int
	// Text is the rendered text.
	Text string
}

// EncodeChat renders messages with tmpl (the model's own where nil) and encodes them: added tokens
// only where the template wrote them, every stretch between two of them as one plain text. tools is
// a JSON list of function schemas or nil.
func (t *Tokenizer) EncodeChat(tmpl *chat.Template, messages []chat.Message, tools []byte, addGenerationPrompt bool) (ids []int32, trained []bool, err error) {
	e, err := t.EncodeInput(tmpl, chat.Input{Messages: messages, Tools: tools, AddGenerationPrompt: addGenerationPrompt})
	if err != nil {
		return nil, nil, err
	}
	return e.IDs, e.Trained, nil
}

// EncodeInput is EncodeChat with every setting of a rendering.
//
// The mask follows positions alone. Where the template has generation blocks they are what is
// trained. Elsewhere an answer begins behind the generation prompt (what the template adds for
// AddGenerationPrompt) that stands last before the text of an assistant message, and ends with the
// first stop token behind it; both are looked for only in what the template wrote between that
// message and its neighbours. A token that begins before the answer (a newline of the prompt merged
// with one of the answer) is not trained: at inference the prompt has it.
func (t *Tokenizer) EncodeInput(tmpl *chat.Template, in chat.Input) (*Encoded, error) {
	if tmpl == nil {
		var err error
		if tmpl, err = t.Template(); err != nil {
			return nil, err
		}
	}
	r, err := tmpl.RenderParts(in)
	if err != nil {
		return nil, err
	}
	controls := t.added.find(r.Text, r.Origins)
	var spans []answer
	for _, block := range r.Generation {
		spans = append(spans, answer{block, r.GeneratedBy(block)})
	}
	if spans == nil {
		spans = t.answers(r, controls, generationPrompt(tmpl, in, r))
	}
	pieces := make([]piece, 0, len(r.Text)/2)
	at := 0
	for _, c := range controls {
		pieces = append(t.encodePlain(pieces, r.Text[at:c.start], at), c.piece)
		at = c.end
	}
	pieces = t.encodePlain(pieces, r.Text[at:], at)
	e := &Encoded{Text: r.Text, IDs: ids(pieces), Trained: make([]bool, len(pieces)), Answers: make([]int, len(pieces))}
	for i, p := range pieces {
		e.Answers[i] = -1
		if j := slices.IndexFunc(spans, func(s answer) bool { return s.Start <= p.start && p.start < s.End }); j >= 0 {
			e.Answers[i] = spans[j].message
		}
		e.Trained[i] = e.Answers[i] >= 0
	}
	return e, nil
}

// generationPrompt returns what AddGenerationPrompt adds to a rendering, empty where it changes the
// text in another way or the template refuses it for these messages.
func generationPrompt(tmpl *chat.Template, in chat.Input, r *chat.Rendered) string {
	in.AddGenerationPrompt = !in.AddGenerationPrompt
	other, err := tmpl.Render(in)
	if err != nil {
		return ""
	}
	long, short := r.Text, other
	if in.AddGenerationPrompt {
		long, short = short, long
	}
	prompt, ok := strings.CutPrefix(long, short)
	if !ok {
		return ""
	}
	return prompt
}

// answer is a stretch to train and the index of its message.
type answer struct {
	chat.Span
	message int
}

// answers finds the stretches to train around the turns of assistant messages.
func (t *Tokenizer) answers(r *chat.Rendered, controls []control, prompt string) []answer {
	var out []answer
	for _, turn := range r.AssistantTurns() {
		span := turn.Span
		if k := strings.LastIndex(r.Text[turn.After:turn.Start], prompt); k >= 0 && prompt != "" {
			span.Start = turn.After + k + len(prompt)
		}
		if end := t.endOfTurn(controls, turn); end > 0 {
			span.End = end
		}
		out = append(out, answer{span, turn.Message})
	}
	return out
}

// endOfTurn returns the end of the first stop token behind a turn, else of the first special token
// there, 0 where there is neither.
func (t *Tokenizer) endOfTurn(controls []control, turn chat.Turn) int {
	fallback := 0
	for _, c := range controls {
		if c.start < turn.End || c.end > turn.Until {
			continue
		}
		if slices.Contains(t.special.eos, c.id) {
			return c.end
		}
		if fallback == 0 && c.token.Special {
			fallback = c.end
		}
	}
	return fallback
}
