package bus

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"descant/pkg/pb"
)

// chatFromJSON reads a chat request that a person typed.
func chatFromJSON(data []byte, req *pb.ChatRequest) error {
	data, err := schemaAsText(data)
	if err != nil {
		return fmt.Errorf("decode ChatRequest: %w", err)
	}
	return FromJSON(data, req)
}

// schemaAsText turns the object response_format.json_schema.schema into a text with that JSON: a message of objects would
// lose the order of the schema's properties. Everything else stays byte for byte, for FromJSON to judge.
func schemaAsText(data []byte) ([]byte, error) {
	at := []string{"response_format", "json_schema", "schema"}
	if !bytes.Contains(data, []byte(`"json_schema"`)) || !json.Valid(data) {
		return data, nil
	}
	var out bytes.Buffer
	rest := 0
	dec := json.NewDecoder(bytes.NewReader(data))
	// walk reads the members of an object whose brace was read, at a depth of the path.
	var walk func(depth int) error
	walk = func(depth int) error {
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			begin := dec.InputOffset()
			if key == at[depth] && depth < len(at)-1 && opens(data[begin:]) {
				if _, err := dec.Token(); err != nil {
					return err
				}
				if err := walk(depth + 1); err != nil {
					return err
				}
				continue
			}
			var value json.RawMessage
			if err := dec.Decode(&value); err != nil {
				return err
			}
			if key == at[depth] && depth == len(at)-1 && opens(value) {
				end := int(dec.InputOffset())
				text, err := json.Marshal(string(value))
				if err != nil {
					return err
				}
				out.Write(data[rest : end-len(value)])
				out.Write(text)
				rest = end
			}
		}
		_, err := dec.Token()
		return err
	}
	if !opens(data) {
		return data, nil
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if err := walk(0); err != nil {
		return nil, err
	}
	out.Write(data[rest:])
	return out.Bytes(), nil
}

// opens says whether an object begins here, behind white space and a colon.
func opens(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n:")
	return len(data) > 0 && data[0] == '{'
}

// knownOnly refuses fields that a newer program sent: an answer must not leave out what was asked for.
func knownOnly(m protoreflect.Message) error {
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		number, _, _ := protowire.ConsumeField(unknown)
		return fmt.Errorf("%s has a field %d that this worker does not know: run the same version of descant everywhere", m.Descriptor().Name(), number)
	}
	var failed error
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil || field.IsMap():
		case field.IsList():
			for i := range value.List().Len() {
				if failed == nil {
					failed = knownOnly(value.List().Get(i).Message())
				}
			}
		default:
			failed = knownOnly(value.Message())
		}
		return failed == nil
	})
	return failed
}

// chatFromProto reads a chat request of another program.
func chatFromProto(data []byte, req *pb.ChatRequest) error {
	if err := proto.Unmarshal(data, req); err != nil {
		return err
	}
	return knownOnly(req.ProtoReflect())
}
