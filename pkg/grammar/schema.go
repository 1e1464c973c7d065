package grammar

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"descant/pkg/job"
)

// The words that a schema may use, by what they are for.
var (
	annotations  = []string{"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment", "$defs", "definitions"}
	objectWords  = []string{"properties", "required", "additionalProperties"}
	arrayWords   = []string{"items", "prefixItems", "minItems", "maxItems"}
	stringWords  = []string{"minLength", "maxLength", "pattern", "format"}
	numberWords  = []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
	choiceWords  = []string{"$ref", "enum", "const", "anyOf", "allOf"}
	wordsOfTypes = map[string][]string{"object": objectWords, "array": arrayWords, "string": stringWords, "integer": numberWords, "number": numberWords,
		"boolean": nil, "null": nil}
)

// SchemaError lists what cannot be done with a schema, by place.
type SchemaError struct{ Problems []job.Problem }

func (e *SchemaError) Error() string { return job.Problems(e.Problems).Error() }

// JSONObject is the grammar of any JSON object.
func JSONObject() (*Grammar, error) {
	s := newSchemaBuilder(nil)
	return s.grammar(s.net.define(s.object(&value{}, "")))
}

// JSONSchema is the grammar of JSON values that a schema allows. Properties are written in the order of the schema. Every
// text of the grammar is valid by the schema, but not every valid text is in the grammar: docs/sampling.md says what is left
// out. Words of JSON Schema that are not supported are an error that names all of them.
func JSONSchema(schema string) (*Grammar, error) {
	root, err := parse(schema)
	if err != nil {
		return nil, &SchemaError{[]job.Problem{{Reason: err.Error(), Next: "give a JSON Schema as an object"}}}
	}
	s := newSchemaBuilder(root)
	start := s.net.define(s.schema(root, ""))
	if len(s.problems) == 0 {
		g, err := s.grammar(start)
		if err == nil {
			return g, nil
		}
		s.problem("", "", err.Error(), "make the schema simpler; what refers to itself must be optional, or an item of an array that may be empty")
	}
	return nil, &SchemaError{s.problems}
}

// schemaBuilder makes the network of a schema.
type schemaBuilder struct {
	*builder
	root     *value
	problems []job.Problem
	// refs are the rules of schemas that are referred to; -1 stands for one that is being made.
	refs map[string]int
	// pieces are the rules that many places use.
	pieces map[string]int
}

func newSchemaBuilder(root *value) *schemaBuilder {
	return &schemaBuilder{builder: newBuilder(), root: root, refs: map[string]int{}, pieces: map[string]int{}}
}

// problem notes what is wrong at a place of the schema.
func (s *schemaBuilder) problem(place, found, reason, next string) {
	s.problems = append(s.problems, job.Problem{Field: strings.TrimPrefix(place, "."), Found: found, Reason: reason, Next: next})
}

// schema is the part of the values that a schema at a place allows.
func (s *schemaBuilder) schema(v *value, place string) part {
	switch {
	case v.raw == "true":
		return s.anything()
	case v.kind != object:
		s.problem(place, shorten(v.raw), "is no schema", "give an object")
		return s.net.nothing()
	case s.net.full():
		return s.net.nothing() // told at the end
	}
	var words []string // without annotations
	for _, m := range v.members {
		if !slices.Contains(annotations, m.key) {
			words = append(words, m.key)
		}
	}
	for _, choice := range choiceWords {
		if slices.Contains(words, choice) {
			return s.choice(v, choice, words, place)
		}
	}
	return s.typed(v, words, place)
}

// choice is the part of a schema that another schema or a list of values decides.
func (s *schemaBuilder) choice(v *value, word string, words []string, place string) part {
	given, at := v.get(word), place+"."+word
	for _, other := range words {
		if other != word && (other != "type" || word == "$ref" || word == "anyOf" || word == "allOf") {
			s.problem(place+"."+other, "", "is not supported beside "+word, "put it into the schemas themselves, or leave it out")
		}
	}
	switch word {
	case "$ref":
		return s.ref(given, at)
	case "const":
		return s.values([]*value{given}, v.get("type"), at)
	case "enum":
		if given.kind != array || len(given.items) == 0 {
			s.problem(at, shorten(given.raw), "is no list of values", "give at least one value")
			return s.net.nothing()
		}
		return s.values(given.items, v.get("type"), at)
	}
	if given.kind != array || len(given.items) == 0 {
		s.problem(at, shorten(given.raw), "is no list of schemas", "give at least one schema")
		return s.net.nothing()
	}
	if word == "allOf" && len(given.items) > 1 {
		s.problem(at, strconv.Itoa(len(given.items))+" schemas", "is supported with one schema only", "merge them into one schema")
	}
	var parts []part
	for i, item := range given.items {
		parts = append(parts, s.schema(item, at+"["+strconv.Itoa(i)+"]"))
	}
	return s.net.either(parts...)
}

// values is the choice between values as they are written in the schema, those of the wanted types.
func (s *schemaBuilder) values(list []*value, types *value, place string) part {
	var parts []part
	for _, v := range list {
		if types == nil || isOf(v, s.types(types, place)) {
			raw := v.raw
			if v.kind == text {
				raw = quote(v.text)
			}
			parts = append(parts, s.net.literal(raw))
		}
	}
	if len(parts) == 0 {
		s.problem(place, "", "has no value of the type beside it", "correct the type or the values")
	}
	return s.net.either(parts...)
}

func isOf(v *value, types []string) bool {
	return slices.Contains(types, string(v.kind)) || v.kind == number && slices.Contains(types, "integer") && !strings.ContainsAny(v.text, ".eE")
}

// ref goes through the rule of the schema that is referred to.
func (s *schemaBuilder) ref(v *value, place string) part {
	if v.kind != text || !strings.HasPrefix(v.text, "#") || v.text != "#" && !strings.HasPrefix(v.text, "#/") {
		s.problem(place, shorten(v.raw), "does not refer to a place in the schema itself", `write for example "#/$defs/name"`)
		return s.net.nothing()
	}
	rule, made := s.refs[v.text]
	if !made {
		target := s.root
		for _, step := range strings.Split(strings.TrimPrefix(v.text, "#"), "/")[1:] {
			target = target.at(step)
			if target == nil {
				s.problem(place, shorten(v.raw), "refers to nothing", "name a schema that is there")
				return s.net.nothing()
			}
		}
		rule = s.net.recursive(func(rule int) part {
			s.refs[v.text] = rule
			return s.schema(target, strings.ReplaceAll(strings.TrimPrefix(v.text, "#"), "/", "."))
		})
	}
	return s.net.call(rule)
}

// at follows one step of a JSON pointer.
func (v *value) at(step string) *value {
	if plain, err := url.PathUnescape(step); err == nil {
		step = plain
	}
	step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	if v.kind == array {
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v.items) {
			return v.items[i]
		}
		return nil
	}
	return v.get(step)
}

// types reads type: a name or a list of them.
func (s *schemaBuilder) types(v *value, place string) (names []string) {
	list := []*value{v}
	if v.kind == array {
		list = v.items
	}
	for _, one := range list {
		if _, known := wordsOfTypes[one.text]; one.kind != text || !known {
			s.problem(place+".type", shorten(one.raw), "is no type", "give object, array, string, integer, number, boolean or null")
			continue
		}
		names = append(names, one.text)
	}
	return names
}

// typed is the part of a schema that says types and bounds. Where it has no type, its words tell it.
func (s *schemaBuilder) typed(v *value, words []string, place string) part {
	if len(words) == 0 {
		return s.anything()
	}
	var names []string
	if given := v.get("type"); given != nil {
		names = s.types(given, place)
	} else {
		for _, name := range []string{"object", "array", "string", "number"} {
			if slices.ContainsFunc(words, func(word string) bool { return slices.Contains(wordsOfTypes[name], word) }) {
				names = append(names, name)
			}
		}
	}
	for _, word := range words {
		if word == "type" || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(wordsOfTypes[name], word) }) {
			continue
		}
		if slices.Contains(slices.Concat(objectWords, arrayWords, stringWords, numberWords), word) {
			s.problem(place+"."+word, "", "does not belong to type "+strings.Join(names, ", "), "correct the type, or leave it out")
		} else {
			s.problem(place+"."+word, "", "is not supported", "leave it out; docs/sampling.md lists what is supported")
		}
	}
	var parts []part
	for _, name := range names {
		parts = append(parts, s.ofType(name, v, place))
	}
	return s.net.either(parts...)
}

func (s *schemaBuilder) ofType(name string, v *value, place string) part {
	switch name {
	case "object":
		return s.object(v, place)
	case "array":
		return s.array(v, place)
	case "string":
		return s.string(v, place)
	case "integer":
		return s.integer(v, place)
	case "number":
		return s.number(v, place)
	case "boolean":
		return s.net.either(s.net.literal("true"), s.net.literal("false"))
	}
	return s.net.literal("null")
}

// rule is a rule that is made once.
func (s *schemaBuilder) rule(name string, make func() part) int {
	rule, made := s.pieces[name]
	if !made {
		rule = s.net.define(make())
		s.pieces[name] = rule
	}
	return rule
}

// fixed is the part of an expression of this package.
func (s *schemaBuilder) fixed(expr string) part {
	p, err := s.regex(expr, s.runes, true)
	if err != nil {
		panic("grammar: " + expr + ": " + err.Error()) // a mistake of this package
	}
	return p
}

// space is what may stand between the parts of an object or array: nothing, a space, or a new line with its indentation.
func (s *schemaBuilder) space() part {
	return s.net.call(s.rule("space", func() part { return s.fixed(`( |\n[ \t]{0,20})?`) }))
}

// count reads a bound that is a number of things.
func (s *schemaBuilder) count(v *value, word, place string, otherwise int) int {
	given := v.get(word)
	if given == nil {
		return otherwise
	}
	n, err := strconv.Atoi(given.text)
	if given.kind != number || err != nil || n < 0 || n > maxRepeat {
		s.problem(place+"."+word, shorten(given.raw), "is no usable bound", fmt.Sprintf("give a whole number from 0 to %d", maxRepeat))
		return otherwise
	}
	return n
}

// maxRepeat is the largest bound of a length.
const maxRepeat = 16384

// bounds reads a least and a largest number, -1 for none.
func (s *schemaBuilder) bounds(v *value, least, most, place string) (low, high int) {
	low, high = s.count(v, least, place, 0), s.count(v, most, place, -1)
	if high >= 0 && low > high {
		s.problem(place+"."+least, strconv.Itoa(low), "is more than "+most, "swap them")
		high = low
	}
	return low, high
}

func shorten(raw string) string {
	const most = 60
	if len(raw) > most {
		raw = strings.ToValidUTF8(raw[:most], "") + "…"
	}
	return raw
}
