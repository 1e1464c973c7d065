package bus

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestChatRequestKeepsTheOrderOfASchema(t *testing.T) {
	t.Parallel()
	schema := `{ "type":"object","properties":{"z":{"type":"string"}, "a":{"schema":{"json_schema":1}}}}`
	for _, text := range []string{
		`{"prompt":"p","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":` + schema + `,"strict":true}},"n":2,"logit_bias":{"7":-1.5}}`,
		"{\"response_format\" : {\n\"json_schema\" :{ \"schema\" : " + schema + " }}, \"prompt\": \"p\"}",
	} {
		req, err := chatRequest([]byte(text), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := req.GetResponseFormat().GetJsonSchema().GetSchema(); got != schema || req.GetPrompt() != "p" {
			t.Errorf("schema %s of %v", got, req)
		}
	}
	for text, want := range map[string]string{
		`{"response_format":{"json_schema":{"schema":{},"schema":{}}}}`: "duplicate",
		`{"response_format":{"json_schema":{"schemas":{}}}}`:            "schemas",
		`{"response_format":{"json_schema":{"schema":[]}}}`:             "schema",
		`{"response_format":{"json_schema":{"schema":{}}`:               "ChatRequest",
		`{"response_format":"json_schema","temprature":1}`:              "unexpected token",
		`["json_schema"]`: "ChatRequest",
	} {
		if _, err := chatRequest([]byte(text), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %q", text, err, want)
		}
	}
}

func TestChatRequestOfANewerProgramIsRefused(t *testing.T) {
	t.Parallel()
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 901, protowire.VarintType), 1)
	for want, data := range map[string][]byte{
		"ChatRequest has a field 900": protowire.AppendVarint(protowire.AppendTag(nil, 900, protowire.VarintType), 1),
		"ChatMessage has a field 901": protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), inner),
	} {
		if _, err := chatRequest(data, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := chatRequest(protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "hi"), true); err != nil {
		t.Error(err)
	}
}
