package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// parquetSource yields the rows of a Parquet file as objects, a few at a time.
type parquetSource struct {
	in     *parquet.GenericReader[any]
	schema *parquet.Schema
	batch  []any
	left   []any
	row    int
	end    error
}

// parquetBatch rows are read at a time: rows may be long, and a batch is in memory.
const parquetBatch = 64

// sized is a reader that Parquet, which is read from its end, can work with.
type sized interface {
	io.ReaderAt
	Size() int64
}

func newParquetSource(raw io.Reader) (*parquetSource, error) {
	var at io.ReaderAt
	var size int64
	switch in := raw.(type) {
	case *os.File:
		info, err := in.Stat()
		if err != nil {
			return nil, err
		}
		at, size = in, info.Size()
	case sized:
		at, size = in, in.Size()
	default:
		return nil, unpackError{errors.New("a Parquet file has to be a file here, not a stream")}
	}
	file, err := parquet.OpenFile(at, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
	if err != nil {
		return nil, unpackError{err}
	}
	return &parquetSource{in: parquet.NewGenericReader[any](file, file.Schema()), schema: file.Schema(), batch: make([]any, parquetBatch)}, nil
}

func (s *parquetSource) next() (record, error) {
	for len(s.left) == 0 {
		if s.end != nil {
			return record{}, s.end
		}
		clear(s.batch)
		n, err := s.read()
		s.left, s.end = s.batch[:n], err
	}
	row := s.left[0]
	s.left = s.left[1:]
	s.row++
	rec := record{row: s.row}
	v, err := valueOf(s.schema, row)
	if err != nil {
		rec.bad = &Problem{Code: CodeNotUTF8, Row: s.row, Found: err.Error(), Hint: "write texts as UTF-8"}
		return rec, nil //nolint:nilerr // the row is bad, reading is not
	}
	rec.val = &v
	return rec, nil
}

// read guards against panics of the library on damaged pages.
func (s *parquetSource) read() (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = unpackError{fmt.Errorf("%v", p)}
		}
	}()
	n, err = s.in.Read(s.batch)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unpackError{err}
	}
	return n, err
}

// valueOf turns a value of Parquet into one of JSON. Members of structs that are null are left out: a struct column has
// all the keys of all rows, and a row can't say that it has none.
func valueOf(node parquet.Node, x any) (value, error) {
	if x == nil {
		return value{kind: kindNull, raw: []byte("null")}, nil
	}
	v := value{}
	switch x := x.(type) {
	case string:
		return textValue([]byte(x))
	case []byte:
		return textValue(x)
	case []any:
		v.kind = kindArray
		for _, item := range x {
			child, err := valueOf(elementOf(node), item)
			if err != nil {
				return v, err
			}
			v.items = append(v.items, child)
		}
	case map[string]any:
		return structValue(node, x)
	case bool:
		v.kind = kindBool
	default:
		v.kind = kindNumber
	}
	return withRaw(v, x)
}

func textValue(text []byte) (value, error) {
	if !utf8.Valid(text) {
		return value{}, errors.New("a text of the row is not UTF-8")
	}
	return value{kind: kindString, str: string(text), raw: quoted(string(text))}, nil
}

// quoted is a text as JSON, without the escapes for HTML.
func quoted(text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic(err) // a string always has a JSON form
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func structValue(node parquet.Node, x map[string]any) (value, error) {
	if list, ok := x["list"]; ok && len(x) == 1 { // the three levels of a LIST column
		inner, _ := list.([]any)
		v := value{kind: kindArray}
		for _, item := range inner {
			element, _ := item.(map[string]any)
			for name, of := range element {
				child, err := valueOf(childOf(childOf(node, "list"), name), of)
				if err != nil {
					return v, err
				}
				v.items = append(v.items, child)
			}
		}
		return withRaw(v, nil)
	}
	v := value{kind: kindObject}
	add := func(name string, of any, child parquet.Node) error {
		val, err := valueOf(child, of)
		if err == nil && val.kind != kindNull {
			v.members = append(v.members, member{name, val})
		}
		return err
	}
	for _, field := range fieldsOf(node) { // in the order of the schema
		if err := add(field.Name(), x[field.Name()], field); err != nil {
			return v, err
		}
	}
	return withRaw(v, nil)
}

func fieldsOf(node parquet.Node) []parquet.Field {
	if node == nil || node.Leaf() {
		return nil
	}
	return node.Fields()
}

func childOf(node parquet.Node, name string) parquet.Node {
	for _, f := range fieldsOf(node) {
		if f.Name() == name {
			return f
		}
	}
	return nil
}

// elementOf is the node of the items of a list that comes as a list.
func elementOf(node parquet.Node) parquet.Node {
	if list := childOf(node, "list"); list != nil {
		if fields := fieldsOf(list); len(fields) == 1 {
			return fields[0]
		}
	}
	return node
}

// withRaw gives a value its JSON text, which later steps keep.
func withRaw(v value, x any) (value, error) {
	switch v.kind {
	case kindArray:
		v.raw = append(v.raw, '[')
		for i, item := range v.items {
			v.raw = append(separate(v.raw, i), item.raw...)
		}
		v.raw = append(v.raw, ']')
	case kindObject:
		v.raw = append(v.raw, '{')
		for i, m := range v.members {
			v.raw = append(append(append(separate(v.raw, i), quoted(m.key)...), ": "...), m.val.raw...)
		}
		v.raw = append(v.raw, '}')
	default:
		text, err := json.Marshal(x)
		if err != nil {
			return v, fmt.Errorf("a value of the row has no JSON form: %w", err)
		}
		v.raw = text
	}
	return v, nil
}

func separate(raw []byte, i int) []byte {
	if i > 0 {
		return append(raw, ", "...)
	}
	return raw
}
