package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// DecodeStrict reads one JSON object into the struct that target points at and returns everything
// that is wrong with it. It refuses what encoding/json lets pass: unknown fields (with the nearest
// valid name), names in another case, names given twice, null, bytes that are not UTF-8 and text
// after the object. Fields that the object leaves out keep the value they have. The names that the
// object gives are returned for callers to whom "left out" and "given as zero" differ.
func DecodeStrict(data []byte, target any) (given []string, problems []Problem) {
	if !utf8.Valid(data) {
		return nil, []Problem{{Reason: "the text is not valid UTF-8", Next: "send JSON encoded as UTF-8"}}
	}
	members, err := splitObject(data)
	if err != nil {
		return nil, []Problem{{Found: foundText(data), Reason: err.Error(), Next: `send one JSON object such as {"model":"…","dataset":"…"}`}}
	}
	fields := map[string]reflect.Value{}
	var names []string
	collectFields(reflect.ValueOf(target).Elem(), fields, &names)
	for _, m := range members {
		field, known := fields[m.name]
		switch {
		case !known:
			problems = append(problems, unknownField(m.name, names))
		case slices.Contains(given, m.name):
			problems = append(problems, Problem{Field: m.name, Reason: "is given twice", Next: "keep one of the two"})
		default:
			given = append(given, m.name)
			if err := decodeValue(m.value, field); err != nil {
				problems = append(problems, Problem{Field: m.name, Found: foundText(m.value), Reason: err.Error(), Next: "see the field's description in `descant finetune --help`"})
			}
		}
	}
	return given, problems
}

type member struct {
	name  string
	value json.RawMessage
}

// splitObject returns the members of a JSON object in order, with repetitions.
func splitObject(data []byte) ([]member, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	first, err := decoder.Token()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the text is empty")
	}
	if err != nil {
		return nil, jsonError(err)
	}
	if first != json.Delim('{') {
		return nil, errors.New("the text is not a JSON object")
	}
	var members []member
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, jsonError(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, jsonError(err)
		}
		members = append(members, member{name.(string), value})
	}
	if _, err := decoder.Token(); err != nil {
		return nil, jsonError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more text after the JSON object")
	}
	return members, nil
}

func jsonError(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("the text is not valid JSON at byte %d: %s", syntax.Offset, syntax.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends in the middle")
	}
	return fmt.Errorf("the text is not valid JSON: %w", err)
}

// collectFields finds the JSON fields of a struct, those of embedded structs included.
func collectFields(v reflect.Value, fields map[string]reflect.Value, names *[]string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			collectFields(v.Field(i), fields, names)
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = v.Field(i)
		*names = append(*names, name)
	}
}

func decodeValue(raw json.RawMessage, field reflect.Value) error {
	if string(raw) == "null" {
		return errors.New("is null; leave the field out to get its default")
	}
	if err := json.Unmarshal(raw, field.Addr().Interface()); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			return fmt.Errorf("must be %s", kindWords(field.Type()))
		}
		return err
	}
	return nil
}

func kindWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindWords(t.Elem())
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

func unknownField(name string, names []string) Problem {
	if reason, ok := refusedOptions[name]; ok {
		return Problem{Field: name, Reason: reason, Next: "remove it; docs/lora.md lists what is supported"}
	}
	p := Problem{Field: shorten(name), Reason: "is not a field of this request"}
	if near := Nearest(name, names); near != "" {
		p.Next = fmt.Sprintf("did you mean %q?", near)
		return p
	}
	sorted := slices.Sorted(slices.Values(names))
	p.Next = "remove it; the fields are " + strings.Join(sorted, ", ")
	return p
}

func foundText(raw []byte) string {
	return shorten(strings.TrimSpace(string(raw)))
}
