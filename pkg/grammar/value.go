package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// value is a JSON value that keeps the order of members.
type value struct {
	kind    kind
	members []member // of an object
	items   []*value // of an array
	text    string   // of a string, without quotes; of a number, as it is written
	raw     string   // the value as compact JSON
}

type member struct {
	key   string
	value *value
}

// kind is the type of a value, by its name in JSON Schema.
type kind string

const (
	object  kind = "object"
	array   kind = "array"
	text    kind = "string"
	number  kind = "number"
	boolean kind = "boolean"
	null    kind = "null"
)

// get returns a member's value, or nil.
func (v *value) get(key string) *value {
	for _, m := range v.members {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

// parse reads one JSON value.
func parse(data string) (*value, error) {
	dec := json.NewDecoder(strings.NewReader(data))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("is not one JSON value: there is more behind it")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, err
	}
	return parseCompact(compact.String())
}

// parseCompact takes a valid, compact value apart.
func parseCompact(raw string) (*value, error) {
	v := &value{raw: raw}
	switch raw[0] {
	case '{', '[':
		return v, v.parseInside()
	case '"':
		v.kind = text
		return v, json.Unmarshal([]byte(raw), &v.text)
	case 't', 'f':
		v.kind = boolean
	case 'n':
		v.kind = null
	default:
		v.kind, v.text = number, raw
	}
	return v, nil
}

// parseInside reads the members or items of an object or array.
func (v *value) parseInside() error {
	dec := json.NewDecoder(strings.NewReader(v.raw))
	if _, err := dec.Token(); err != nil {
		return err
	}
	v.kind = array
	if v.raw[0] == '{' {
		v.kind = object
	}
	for dec.More() {
		var key string
		if v.kind == object {
			name, err := dec.Token()
			if err != nil {
				return err
			}
			key = name.(string) // as in every valid object
			if v.get(key) != nil {
				return fmt.Errorf("has the member %q twice", key)
			}
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		inner, err := parseCompact(string(raw))
		if err != nil {
			return err
		}
		if v.kind == object {
			v.members = append(v.members, member{key, inner})
		} else {
			v.items = append(v.items, inner)
		}
	}
	return nil
}

// quote writes a text as a JSON string.
func quote(s string) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a text can always be encoded
	return strings.TrimSuffix(out.String(), "\n")
}
