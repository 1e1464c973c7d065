package gguf

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// space is how a SentencePiece vocabulary writes a space.
const space = "▁"

// transform is a normalizer or a pre-tokenizer of tokenizer.json, possibly a sequence of them.
type transform struct {
	Type    string `json:"type"`
	Prepend string `json:"prepend"`
	Pattern struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`
	Content       string      `json:"content"`
	Replacement   string      `json:"replacement"`
	PrependScheme string      `json:"prepend_scheme"`
	Split         *bool       `json:"split"`
	Normalizers   []transform `json:"normalizers"`
	PreTokenizers []transform `json:"pretokenizers"`
}

// flat lists the steps of a sequence, or the only one.
func (t transform) flat() (steps []transform) {
	switch t.Type {
	case "":
		return nil
	case "Sequence":
		for _, part := range append(t.Normalizers, t.PreTokenizers...) {
			steps = append(steps, part.flat()...)
		}
		return steps
	}
	return []transform{t}
}

// spacePrefix says whether a space is put before every text, as in Llama 2 and Mistral. llama.cpp does nothing else to a
// text than that and writing spaces as ▁; for other steps ok is false.
func (f tokenizerFile) spacePrefix() (prefix, ok bool) {
	for _, step := range append(f.Normalizer.flat(), f.PreTokenizer.flat()...) {
		switch {
		case step.Type == "Prepend" && step.Prepend == space && !prefix:
			prefix = true
		case step.Type == "Replace" && step.Pattern.String == " " && step.Content == space:
			ok = true
		case step.Type == "Metaspace" && step.Replacement == space && step.Split != nil && !*step.Split && step.PrependScheme == "never":
			ok = true
		default:
			// Other schemes of a Metaspace put the space only where a text does not begin with one ("always"), or before the
			// first text alone ("first"); llama.cpp does before each text, also behind a control token.
			return false, false
		}
	}
	return prefix, ok
}

var byteToken = regexp.MustCompile(`^<0x[0-9A-F]{2}>$`)

// pieceFields is a BPE tokenizer of SentencePiece, with bytes for what it does not know, in llama.cpp's fields.
func (f tokenizerFile) pieceFields(vocab int) ([]Field, error) {
	prefix, ok := f.spacePrefix()
	if !ok || f.Model.IgnoreMerges {
		return nil, errTokenizer
	}
	tokens, kinds, err := f.tokens(vocab)
	if err != nil {
		return nil, err
	}
	bytes := 0
	for id, token := range tokens {
		if kinds[id] == tokenNormal && byteToken.MatchString(token) {
			kinds[id] = tokenByte
			bytes++
		}
	}
	if bytes != 256 {
		return nil, fmt.Errorf("tokenizer.json: %d of the 256 bytes have a token", bytes)
	}
	fields := []Field{{"tokenizer.ggml.model", "llama"}, {"tokenizer.ggml.pre", "default"}}
	if id, ok := f.Model.Vocab[f.Model.Unknown]; ok && id < vocab {
		kinds[id] = tokenUnknown
		fields = append(fields, Field{"tokenizer.ggml.unknown_token_id", uint32(id)})
	}
	scores, err := f.scores(tokens, kinds)
	if err != nil {
		return nil, err
	}
	return append(fields, Field{"tokenizer.ggml.tokens", tokens}, Field{"tokenizer.ggml.scores", scores}, Field{"tokenizer.ggml.token_type", kinds},
		Field{"tokenizer.ggml.add_space_prefix", prefix}), nil
}

// scores gives each token the score by which llama.cpp merges its halves before those of others: the highest one first, as the
// list of merges has them. llama.cpp knows no list, and merges any two tokens that are a token together, so a list that
// leaves some out, or has those of one token at different places, is refused.
func (f tokenizerFile) scores(tokens []string, kinds []int32) ([]float32, error) {
	merges, err := f.merges()
	if err != nil {
		return nil, err
	}
	listed, order := map[string]bool{}, map[string]int{} // order of the merged tokens
	last := ""
	for _, merge := range merges {
		left, right, _ := strings.Cut(merge, " ")
		merged := left + right
		listed[merge] = true
		if _, there := order[merged]; there && last != merged {
			return nil, fmt.Errorf("%w: its merges of %q are apart from each other", errTokenizer, merged)
		}
		if last != merged {
			order[merged] = len(order)
		}
		last = merged
	}
	var rest []int // normal tokens that nothing is merged to, by id
	scores := make([]float32, len(tokens))
	for id, token := range tokens {
		if kinds[id] != tokenNormal {
			continue
		}
		if at, merged := order[token]; merged {
			scores[id] = -float32(at)
		} else {
			rest = append(rest, id)
		}
		for cut := range token {
			if cut == 0 {
				continue
			}
			_, left := f.Model.Vocab[token[:cut]]
			_, right := f.Model.Vocab[token[cut:]]
			if left && right && !listed[token[:cut]+" "+token[cut:]] {
				return nil, fmt.Errorf("%w: it never merges %q and %q", errTokenizer, token[:cut], token[cut:])
			}
		}
	}
	for i, id := range rest {
		scores[id] = -float32(len(order) + i)
	}
	return scores, nil
}

var errTokenizer = errors.New("its tokenizer is not of a kind that can be exported (byte-level BPE as Qwen 2, Qwen 3 or Llama 3 have it, or BPE of " +
	"SentencePiece as Llama 2, Mistral or Yi have it); use the GGUF file that others publish of this base, or llama.cpp's convert_hf_to_gguf.py, " +
	"and export only the adapter")
