package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"descant/pkg/job"
)

// Object is a JSON object of a request while its members are taken out one by one; what nobody takes is refused by
// name. A member that is null counts as left out, as SDKs write what was not set. All problems are collected.
type Object struct {
	path     string // before the names of members in messages: "messages[0]."
	members  map[string]json.RawMessage
	order    []string // names of the members that are still there
	known    []string // names that were asked for
	problems *[]Problem
	code     *string // of the first problem
}

// ReadObject reads the body of a request, which must be one JSON object in UTF-8 without repeated names.
func ReadObject(data []byte) (*Object, error) {
	if !utf8.Valid(data) {
		return nil, Invalid("", CodeInvalidJSON, "the body is not UTF-8: send JSON encoded as UTF-8")
	}
	o := &Object{problems: new([]Problem), code: new(string)}
	if err := o.read(data); err != nil {
		return nil, Invalid("", CodeInvalidJSON, "the body is not a JSON object: %v", err)
	}
	return o, nil
}

func (o *Object) read(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	first, err := decoder.Token()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty")
	}
	if err != nil {
		return err
	}
	if first != json.Delim('{') {
		return fmt.Errorf("it begins with %v", first)
	}
	o.members = map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if _, twice := o.members[name]; twice {
			return fmt.Errorf("%q is given twice", name)
		}
		o.members[name] = value
		if string(value) != "null" {
			o.order = append(o.order, name)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after its end")
	}
	return nil
}

// Has tells whether a member is given and not null.
func (o *Object) Has(name string) bool { return slices.Contains(o.order, name) }

// Take decodes a member into the value that into points at and tells whether it was given. A value of a wrong kind is a
// problem; want says in words what is right.
func (o *Object) Take(name string, into any, want string) bool {
	value, given := o.raw(name)
	if !given {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil || nullInside(value, into) {
		o.Problem(name, CodeInvalidValue, fmt.Sprintf("must be %s (found %s)", want, shorten(value)))
		return false
	}
	return true
}

// nullInside tells whether a list or an object of plain values has a null, which encoding/json reads as zero.
func nullInside(value json.RawMessage, into any) bool {
	if _, later := into.(*[]json.RawMessage); later { // each is read by itself
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	for {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		if token == nil {
			return true
		}
	}
}

// Raw takes a member as it is; nil if it is not given.
func (o *Object) Raw(name string) json.RawMessage {
	value, _ := o.raw(name)
	return value
}

func (o *Object) raw(name string) (json.RawMessage, bool) {
	o.known = append(o.known, name)
	i := slices.Index(o.order, name)
	if i < 0 {
		return nil, false
	}
	o.order = slices.Delete(o.order, i, i+1)
	return o.members[name], true
}

// Rest takes all members that are still there.
func (o *Object) Rest() map[string]json.RawMessage {
	rest := map[string]json.RawMessage{}
	for _, name := range slices.Clone(o.order) {
		rest[name] = o.Raw(name)
	}
	return rest
}

// Object takes a member that is itself an object; its problems are added to those of this one. Nil if it is not given
// or not an object.
func (o *Object) Object(name string) *Object {
	value, given := o.raw(name)
	if !given {
		return nil
	}
	return o.inner(o.path+name, value)
}

// Objects takes a member that is a list of objects.
func (o *Object) Objects(name string) (list []*Object) {
	var values []json.RawMessage
	if !o.Take(name, &values, "a list of objects") {
		return nil
	}
	for i, value := range values {
		if one := o.inner(fmt.Sprintf("%s%s[%d]", o.path, name, i), value); one != nil {
			list = append(list, one)
		}
	}
	return list
}

func (o *Object) inner(path string, value json.RawMessage) *Object {
	inner := &Object{path: path + ".", problems: o.problems, code: o.code}
	if err := inner.read(value); err != nil {
		o.add(CodeInvalidValue, Problem{Param: path, Message: "must be an object: " + err.Error()})
		return nil
	}
	return inner
}

// Problem records what is wrong with a member.
func (o *Object) Problem(name, code, message string) {
	o.add(code, Problem{Param: o.path + name, Message: message})
}

func (o *Object) add(code string, p Problem) {
	if *o.code == "" {
		*o.code = code
	}
	*o.problems = append(*o.problems, p)
}

// Only takes a member of which nothing but the given JSON values is supported; reason says why another one is refused.
func (o *Object) Only(name, reason string, allowed ...string) {
	value, given := o.raw(name)
	if !given {
		return
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err == nil && slices.Contains(allowed, compact.String()) {
		return
	}
	o.Problem(name, CodeUnsupportedParameter, fmt.Sprintf("%s is not supported: %s", shorten(value), reason))
}

// Close refuses every member that was not taken. It returns nothing for an inner object: its problems are those of the
// outermost one, which Err returns.
func (o *Object) Close() {
	for _, name := range o.order {
		p := Problem{Param: o.path + name, Message: "is not a field of this request"}
		if near := job.Nearest(name, o.known); near != "" {
			p.NextStep = fmt.Sprintf("did you mean %q?", near)
		}
		o.add(CodeUnknownParameter, p)
	}
	o.order = nil
}

// Err returns all problems as one error of status 400, or nil.
func (o *Object) Err() error {
	problems := *o.problems
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.Param + ": " + p.Message
		if p.NextStep != "" {
			lines[i] += "; " + p.NextStep
		}
	}
	e := Invalid(problems[0].Param, *o.code, "%s", strings.Join(lines, "\n"))
	e.Problems = problems
	return e
}

// shorten cuts a value for a message.
func shorten(value []byte) string {
	runes := []rune(string(value))
	if len(runes) > 80 {
		return string(runes[:77]) + "..."
	}
	return string(runes)
}
