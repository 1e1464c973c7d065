package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"unicode/utf8"
)

const (
	// maxHeader bounds the JSON header, as the reference implementation does.
	maxHeader = 100_000_000
	// maxRank bounds the number of dimensions: no real tensor comes near it.
	maxRank     = 64
	lengthBytes = 8
	metadataKey = "__metadata__"
)

// entry is one tensor of a checked header; begin and end count from the start of the file.
type entry struct {
	info       Info
	begin, end int
}

// header is what a checked file says about itself.
type header struct {
	tensors  map[string]entry
	names    []string // sorted
	metadata map[string]string
}

// parseHeader reads and checks the header of a whole file. Nothing in it is believed: each length,
// offset and shape is compared with the bytes that are there, the tensors must cover the data without
// a gap or an overlap, and a name may occur once.
func parseHeader(file []byte) (*header, error) {
	if len(file) < lengthBytes {
		return nil, fmt.Errorf("the file has %d bytes, too few for a safetensors header", len(file))
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader {
		return nil, fmt.Errorf("the header claims %d bytes, more than the %d allowed; is this a safetensors file?", n, maxHeader)
	}
	start := lengthBytes + int(n)
	if start > len(file) {
		return nil, fmt.Errorf("the header claims %d bytes and the file has %d: it is cut short", n, len(file))
	}
	text := file[lengthBytes:start]
	if len(text) == 0 || text[0] != '{' {
		return nil, errors.New("the header is not a JSON object; is this a safetensors file?")
	}
	if !utf8.Valid(text) {
		return nil, errors.New("the header is not valid UTF-8")
	}
	p := &headerParser{dec: json.NewDecoder(bytes.NewReader(text)), dataBytes: len(file) - start, start: start}
	p.dec.UseNumber()
	h, err := p.parse()
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := checkCover(h, start, len(file)); err != nil {
		return nil, err
	}
	return h, nil
}

// headerParser walks the JSON tokens of a header: decoding into a map would let the last of two equal
// names win in silence.
type headerParser struct {
	dec       *json.Decoder
	dataBytes int
	start     int
}

func (p *headerParser) parse() (*header, error) {
	h := &header{tensors: map[string]entry{}, metadata: map[string]string{}}
	seenMetadata := false
	err := p.object(func(name string) error {
		if name == metadataKey {
			if seenMetadata {
				return fmt.Errorf("%s occurs twice", metadataKey)
			}
			seenMetadata = true
			return p.parseMetadata(h.metadata)
		}
		if _, dup := h.tensors[name]; dup {
			return fmt.Errorf("tensor %q occurs twice", name)
		}
		e, err := p.parseTensor()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		h.tensors[name] = e
		h.names = append(h.names, name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return nil, errors.New("there is something after the JSON object")
	}
	sort.Strings(h.names)
	return h, nil
}

func (p *headerParser) parseMetadata(into map[string]string) error {
	return p.object(func(key string) error {
		if _, dup := into[key]; dup {
			return fmt.Errorf("metadata key %q occurs twice", key)
		}
		tok, err := p.dec.Token()
		if err != nil {
			return fmt.Errorf("metadata key %q: %w", key, err)
		}
		value, ok := tok.(string)
		if !ok {
			return fmt.Errorf("metadata key %q: the value is not a string", key)
		}
		into[key] = value
		return nil
	})
}

func (p *headerParser) parseTensor() (entry, error) {
	var dtype DType
	var shape, offsets []int
	var seen [3]bool
	err := p.object(func(key string) error {
		var at int
		var err error
		switch key {
		case "dtype":
			at = 0
			tok, tokErr := p.dec.Token()
			text, ok := tok.(string)
			if tokErr != nil || !ok {
				return errors.New("dtype is not a string")
			}
			dtype = DType(text)
		case "shape":
			at = 1
			shape, err = p.ints("shape", maxRank)
		case "data_offsets":
			at = 2
			offsets, err = p.ints("data_offsets", 2)
		default:
			return fmt.Errorf("unknown field %q", key)
		}
		if err == nil && seen[at] {
			err = fmt.Errorf("%s occurs twice", key)
		}
		seen[at] = true
		return err
	})
	if err != nil {
		return entry{}, err
	}
	if seen != [3]bool{true, true, true} {
		return entry{}, errors.New("dtype, shape or data_offsets is missing")
	}
	if len(offsets) != 2 || offsets[0] > offsets[1] || offsets[1] > p.dataBytes {
		return entry{}, fmt.Errorf("data_offsets %v do not lie within the %d bytes of data", offsets, p.dataBytes)
	}
	want, err := byteCount(dtype, shape, p.dataBytes)
	if err != nil {
		return entry{}, err
	}
	if got := offsets[1] - offsets[0]; got != want {
		return entry{}, fmt.Errorf("%s needs %d bytes, data_offsets give it %d", Info{dtype, shape}, want, got)
	}
	return entry{info: Info{DType: dtype, Shape: shape}, begin: p.start + offsets[0], end: p.start + offsets[1]}, nil
}

// object reads a JSON object and calls member after each key.
func (p *headerParser) object(member func(key string) error) error {
	tok, err := p.dec.Token()
	if err != nil {
		return err
	}
	if tok != json.Delim('{') {
		return fmt.Errorf("found %v where an object is needed", tok)
	}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return err
		}
		if err := member(tok.(string)); err != nil { // the decoder allows only strings as keys
			return err
		}
	}
	_, err = p.dec.Token()
	return err
}

// ints reads a JSON array of at most limit whole numbers that are not negative.
func (p *headerParser) ints(what string, limit int) ([]int, error) {
	tok, err := p.dec.Token()
	if err != nil || tok != json.Delim('[') {
		return nil, fmt.Errorf("%s is not an array", what)
	}
	values := []int{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		number, ok := tok.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%s holds %v where a number is needed", what, tok)
		}
		v, err := strconv.ParseUint(number.String(), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%s holds %s, not a whole number in range", what, number)
		}
		if len(values) == limit {
			return nil, fmt.Errorf("%s has more than %d numbers", what, limit)
		}
		values = append(values, int(v))
	}
	_, err = p.dec.Token()
	return values, err
}

// checkCover makes sure that the tensors lie behind each other, without gap and overlap, and fill the
// file: bytes that belong to nobody could hide anything.
func checkCover(h *header, start, end int) error {
	order := make([]string, len(h.names))
	copy(order, h.names)
	sort.SliceStable(order, func(i, j int) bool {
		a, b := h.tensors[order[i]], h.tensors[order[j]]
		if a.begin != b.begin {
			return a.begin < b.begin
		}
		return a.end < b.end
	})
	at, before := start, "the header"
	for _, name := range order {
		e := h.tensors[name]
		switch {
		case e.begin < at:
			return fmt.Errorf("tensor %q overlaps %q", name, before)
		case e.begin > at:
			return fmt.Errorf("%d bytes between %q and tensor %q belong to no tensor", e.begin-at, before, name)
		}
		at, before = e.end, name
	}
	if at != end {
		return fmt.Errorf("%d bytes after %q belong to no tensor", end-at, before)
	}
	return nil
}
