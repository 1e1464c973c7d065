package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
)

// FromJSON reads a JSON value as Python's json.loads does: keys keep their order, 1 stays an int
// and 1.0 a float. Every string in it, keys too, is marked as coming from source.
func FromJSON(data []byte, source int) (Value, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeValue(d, source, 0)
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("read JSON: text after the value at byte %d", d.InputOffset())
	}
	return v, nil
}

// Foreign returns a text from outside the template.
func Foreign(s string, source int) Text {
	return Text{S: s, Marks: []Mark{{0, len(s), source}}}
}

// Plain returns a text that counts as written by the template.
func Plain(s string) Text { return plain(s) }

func decodeValue(d *json.Decoder, source, depth int) (Value, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("more than %d values in each other", maxNesting)
	}
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Delim:
		if tok == '[' {
			l := &List{}
			for d.More() {
				v, err := decodeValue(d, source, depth+1)
				if err != nil {
					return nil, err
				}
				l.Items = append(l.Items, v)
			}
			_, err := d.Token()
			return l, err
		}
		dict := NewDict()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d, source, depth+1)
			if err != nil {
				return nil, err
			}
			dict.Set(Foreign(k.(string), source), v)
		}
		_, err := d.Token()
		return dict, err
	case string:
		return Foreign(tok, source), nil
	case json.Number:
		return number(tok.String())
	case bool:
		return tok, nil
	}
	return nil, nil
}

// number reads a number of JSON or of a template.
func number(s string) (Value, error) {
	s = strings.ReplaceAll(s, "_", "")
	hex := strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X")
	if !hex && strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && f == 0 {
			return nil, err
		}
		return f, nil
	}
	i, ok := new(big.Int).SetString(s, 0)
	if !ok {
		return nil, fmt.Errorf("%q is not a number", s)
	}
	return normInt(i), nil
}
