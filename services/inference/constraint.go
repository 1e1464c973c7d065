package inference

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"descant/pkg/grammar"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// constraints makes the automata of a language and keeps the newest, since requests of one program want the same again
// and again.
type constraints struct {
	mu         sync.Mutex
	vocabulary *grammar.Vocabulary
	recent     []keptAutomaton // the least recently used first
}

type keptAutomaton struct {
	form      form
	automaton *grammar.Automaton
}

// maxAutomata is how many are kept; one takes up to 15 MiB.
const maxAutomata = 8

// form is what an answer must look like.
type form struct{ kind, text string }

// The kinds of forms, by the names of the fields.
const (
	formObject = "json_object"
	formSchema = "json_schema"
	formRegex  = "regex"
)

// formOf reads the two fields that constrain an answer; the kind is empty where it is free.
func formOf(req *pb.ChatRequest) (out form, problems []job.Problem) {
	problem := func(field, found, reason, next string) {
		problems = append(problems, job.Problem{Field: field, Found: found, Reason: reason, Next: next})
	}
	format := req.GetResponseFormat()
	switch kind := format.GetType(); {
	case format == nil:
	case kind == "text", kind == formObject:
		if kind == formObject {
			out.kind = kind
		}
		if format.GetJsonSchema() != nil {
			problem("response_format.json_schema", "", "stands beside type "+kind, "give type json_schema, or leave it out")
		}
	case kind == formSchema:
		out = form{kind, format.GetJsonSchema().GetSchema()}
		if out.text == "" {
			problem("response_format.json_schema.schema", "", "is missing", "give a JSON Schema")
		}
	default:
		problem("response_format.type", kind, "is no type of answer", "give text, json_object or json_schema")
	}
	if req.GetRegex() != "" {
		if out.kind != "" {
			problem("regex", "", "stands beside response_format", "give one of the two")
		}
		out = form{formRegex, req.GetRegex()}
	}
	return out, problems
}

// automaton gives that of a form, nil for a free answer.
func (l *language) automaton(f form) (*grammar.Automaton, []job.Problem) {
	if f.kind == "" {
		return nil, nil
	}
	c := &l.constraints
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.recent, func(k keptAutomaton) bool { return k.form == f }); i >= 0 {
		kept := c.recent[i]
		c.recent = append(slices.Delete(c.recent, i, i+1), kept)
		return kept.automaton, nil
	}
	if c.vocabulary == nil {
		tokens, first, ok := l.tokenizer.Vocabulary()
		if !ok {
			return nil, []job.Problem{{Field: fieldOf(f), Reason: "needs a model with a tokenizer over bytes, or of SentencePiece with byte fallback, which this one is not", Next: "leave it out, or ask another model"}}
		}
		c.vocabulary = grammar.NewVocabulary(tokens)
		if first != nil {
			c.vocabulary.Beginning(first)
		}
	}
	g, err := f.grammar()
	if err != nil {
		return nil, formProblems(f, err)
	}
	if len(c.recent) == maxAutomata {
		c.recent = slices.Delete(c.recent, 0, 1)
	}
	a := g.Over(c.vocabulary)
	c.recent = append(c.recent, keptAutomaton{f, a})
	return a, nil
}

func (f form) grammar() (*grammar.Grammar, error) {
	switch f.kind {
	case formObject:
		return grammar.JSONObject()
	case formSchema:
		return grammar.JSONSchema(f.text)
	}
	return grammar.Regex(f.text)
}

func fieldOf(f form) string {
	switch f.kind {
	case formObject:
		return "response_format"
	case formSchema:
		return "response_format.json_schema.schema"
	}
	return "regex"
}

// formProblems tells each problem by the field of the request.
func formProblems(f form, err error) (problems []job.Problem) {
	var schema *grammar.SchemaError
	if !errors.As(err, &schema) {
		return []job.Problem{{Field: fieldOf(f), Reason: err.Error(), Next: "write it otherwise; docs/sampling.md says what is supported"}}
	}
	for _, p := range schema.Problems {
		p.Field = strings.TrimSuffix(fieldOf(f)+"."+p.Field, ".")
		problems = append(problems, p)
	}
	return problems
}
