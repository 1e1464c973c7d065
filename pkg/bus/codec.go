package bus

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ToJSON writes a message as JSON for people: names as in the proto files, in
// their order; 64-bit integers as numbers; numbers and truth values always,
// texts, lists and messages only when they are set.
//
// protojson itself writes 64-bit integers as strings and drops a loss of zero,
// which is no good for a curve drawn from `nats sub`.
func ToJSON(m proto.Message) ([]byte, error) {
	var out bytes.Buffer
	if err := writeMessage(&out, m.ProtoReflect()); err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return out.Bytes(), nil
}

// FromJSON reads JSON into a message; a field that the message does not have is
// an error.
func FromJSON(data []byte, m proto.Message) error {
	if err := protojson.Unmarshal(data, m); err != nil {
		return fmt.Errorf("decode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

func writeMessage(out *bytes.Buffer, m protoreflect.Message) error {
	switch m.Interface().(type) {
	case *timestamppb.Timestamp, *structpb.Struct, *structpb.Value, *structpb.ListValue:
		data, err := protojson.Marshal(m.Interface())
		if err != nil {
			return err
		}
		return json.Compact(out, data) // protojson puts spaces at random
	}
	out.WriteByte('{')
	fields := m.Descriptor().Fields()
	first := true
	for i := range fields.Len() {
		f := fields.Get(i)
		if !shown(m, f) {
			continue
		}
		if !first {
			out.WriteByte(',')
		}
		first = false
		out.WriteString(strconv.Quote(string(f.Name())))
		out.WriteByte(':')
		if err := writeField(out, f, m.Get(f)); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	out.WriteByte('}')
	return nil
}

func shown(m protoreflect.Message, f protoreflect.FieldDescriptor) bool {
	if m.Has(f) {
		return true
	}
	if f.HasPresence() || f.IsList() || f.IsMap() {
		return false
	}
	return f.Kind() != protoreflect.StringKind && f.Kind() != protoreflect.BytesKind
}

func writeField(out *bytes.Buffer, f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch {
	case f.IsList():
		list := v.List()
		out.WriteByte('[')
		for i := range list.Len() {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeValue(out, f, list.Get(i)); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	case f.IsMap():
		return writeMap(out, f, v.Map())
	}
	return writeValue(out, f, v)
}

func writeMap(out *bytes.Buffer, f protoreflect.FieldDescriptor, m protoreflect.Map) error {
	// json.Marshal sorts the keys, so that equal messages give equal bytes.
	values := make(map[string]json.RawMessage, m.Len())
	var failed error
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		var one bytes.Buffer
		failed = writeValue(&one, f.MapValue(), v)
		values[k.String()] = one.Bytes()
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	data, err := json.Marshal(values)
	out.Write(data)
	return err
}

func writeValue(out *bytes.Buffer, f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch x := v.Interface().(type) {
	case protoreflect.Message:
		return writeMessage(out, x)
	case float64:
		return writeFloat(out, x, 64)
	case float32:
		return writeFloat(out, float64(x), 32)
	case string:
		return writeText(out, x)
	case []byte:
		return writeText(out, base64.StdEncoding.EncodeToString(x))
	case protoreflect.EnumNumber:
		return fmt.Errorf("enum %s: this format has none", f.Enum().Name())
	default: // bool and integers
		fmt.Fprint(out, x)
		return nil
	}
}

// writeFloat writes a number as encoding/json does; what JSON has no number
// for goes as the texts that protojson reads back.
func writeFloat(out *bytes.Buffer, x float64, bits int) error {
	switch {
	case math.IsNaN(x):
		return writeText(out, "NaN")
	case math.IsInf(x, 1):
		return writeText(out, "Infinity")
	case math.IsInf(x, -1):
		return writeText(out, "-Infinity")
	}
	var value any = x
	if bits == 32 {
		value = float32(x)
	}
	data, err := json.Marshal(value)
	out.Write(data)
	return err
}

func writeText(out *bytes.Buffer, s string) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1) // the newline of Encode
	return nil
}

// Timestamp turns a time into a field of a message; the zero time is nil.
func Timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// Object turns a JSON object into a field of a message. The numbers of such a field are float64; whole numbers beyond
// ±2⁵³, which those do not hold, become texts of their digits, as 64-bit integers are in the JSON form of protobuf.
func Object(data []byte) (*structpb.Struct, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return nil, fmt.Errorf("decode JSON object: %w", err)
	}
	exact, err := exactNumbers(fields)
	if err != nil {
		return nil, fmt.Errorf("decode JSON object: %w", err)
	}
	s, err := structpb.NewStruct(exact.(map[string]any))
	if err != nil {
		return nil, fmt.Errorf("decode JSON object: %w", err)
	}
	return s, nil
}

// exactNumbers replaces every json.Number by a float64 or by its digits.
func exactNumbers(value any) (any, error) {
	var err error
	switch v := value.(type) {
	case map[string]any:
		for name := range v {
			if v[name], err = exactNumbers(v[name]); err != nil {
				return nil, err
			}
		}
	case []any:
		for i := range v {
			if v[i], err = exactNumbers(v[i]); err != nil {
				return nil, err
			}
		}
	case json.Number:
		const largest = 1 << 53
		if whole, err := v.Int64(); err == nil && (whole > largest || whole < -largest) {
			return v.String(), nil
		}
		return v.Float64()
	}
	return value, nil
}

// Clone returns a deep copy of a message.
func Clone[M proto.Message](m M) M { return proto.CloneOf(m) }
