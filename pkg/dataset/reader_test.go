package dataset

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"descant/pkg/chat"
)

func TestRowsToMessages(t *testing.T) {
	t.Parallel()
	user := func(s string) chat.Message { return chat.Message{Role: "user", Content: s} }
	answer := func(s string) chat.Message { return chat.Message{Role: "assistant", Content: s} }
	system := chat.Message{Role: "system", Content: "s"}
	for _, c := range []struct {
		row   string
		shape Shape
		want  []chat.Message
		tools string
	}{
		{`{"instruction":" a\n","input":"","output":"b "}`, ShapeAlpaca, []chat.Message{user(" a\n"), answer("b ")}, ""},
		{`{"instruction":"a","input":"c","output":"b","system":"s"}`, ShapeAlpaca, []chat.Message{system, user("a\nc"), answer("b")}, ""},
		{`{"instruction":"a","output":"b","system":"","history":[["c","d"]]}`, ShapeAlpaca, []chat.Message{user("c"), answer("d"), user("a"), answer("b")}, ""},
		{`{"prompt":"a","completion":"b"}`, ShapePrompt, []chat.Message{user("a"), answer("b")}, ""},
		{`{"prompt":[{"role":"user","content":"a"}],"completion":[{"role":"assistant","content":"b"}]}`, ShapePrompt, []chat.Message{user("a"), answer("b")}, ""},
		{`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","value":"c"}],"loss_weight":0.0},{"role":"assistant","content":"b","weight":1}],"tools":[{"b":1,"a":2}]}`,
			ShapeMessages, []chat.Message{user("ac"), answer("b")}, `[{"b":1,"a":2}]`},
		{`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"z":1}]},{"role":"tool","name":"f","tool_call_id":"7","content":"r"},{"role":"assistant","content":"b"}]}`,
			ShapeMessages, []chat.Message{user("a"), {Role: "assistant", ToolCalls: json.RawMessage(`[{"z":1}]`)}, {Role: "tool", Name: "f", ToolCallID: "7", Content: "r"}, answer("b")}, ""},
		{`{"conversations":[{"from":"human","value":"a"},{"from":"function_call","value":"{\"name\":\"f\"}"},{"from":"observation","value":"r"},{"from":"gpt","value":"b"}],"tools":"[{\"name\": \"f\"}]","system":"s"}`,
			ShapeShareGPT, []chat.Message{system, user("a"), {Role: "assistant", ToolCalls: json.RawMessage(`[{"type": "function", "function": {"name":"f"}}]`)}, {Role: "tool", Content: "r"}, answer("b")}, `[{"name": "f"}]`},
		{`{"conversation":[{"system":"s","input":"a","output":"b"},{"input":"c","output":"d"}]}`, ShapeTurns, []chat.Message{system, user("a"), answer("b"), user("c"), answer("d")}, ""},
	} {
		rows, report, err := ReadAll(strings.NewReader(c.row), "row", ReadOptions{})
		if err != nil || len(rows) != 1 {
			t.Errorf("%s: %d rows, %v\n%s", c.row, len(rows), err, report.Text())
			continue
		}
		if row := rows[0]; row.Shape != c.shape || !reflect.DeepEqual(row.Messages, c.want) || string(row.Tools) != c.tools {
			t.Errorf("%s:\n got %s %+v %s\nwant %s %+v %s", c.row, row.Shape, row.Messages, row.Tools, c.shape, c.want, c.tools)
		}
	}
}

func TestRefusedRows(t *testing.T) {
	t.Parallel()
	const ask = `{"role":"user","content":"a"}`
	for _, c := range []struct{ row, field, says string }{
		{`{"instruction":"a","output":"b","history":"x"}`, "history", "a string"},
		{`{"instruction":"a","output":"b","history":[["x"]]}`, "history[1]", "pair"},
		{`{"instruction":"a","output":"b","system":3}`, "system", "a number"},
		{`{"prompt":"a"}`, "completion", "missing"},
		{`{"messages":[` + ask + `,{"role":"assistant","content":"b","weight":0.5}]}`, "messages[2].weight", "not supported"},
		{`{"messages":[` + ask + `,{"role":"assistant","Content":"b"}]}`, "messages[2].content", "missing"},
		{`{"messages":[{"role":"user","content":[{"type":"image_url"}]},{"role":"assistant","content":"b"}]}`, "messages[1].content[1]", "image_url"},
		{`{"messages":[{"role":"assistant","content":"b"}]}`, "messages", "before any turn"},
		{`{"messages":[` + ask + `,{"role":"assistant","content":"b","content":"c"}]}`, "messages[2].content", "twice"},
		{`{"messages":[` + ask + `,{"role":"assistant","content":"b","tool_calls":"x"}]}`, "messages[2].tool_calls", "a string"},
		{`{"messages":[` + ask + `,{"role":"assistant","content":"b"}],"tools":"no"}`, "tools", "not a JSON list"},
		{`{"conversations":[{"from":"bing","value":"a"}]}`, "conversations[1].from", "bing"},
		{`{"conversations":[{"from":"human","value":"a"},{"from":"function_call","value":"[]"}]}`, "conversations[2].value", "empty"},
	} {
		_, _, err := ReadAll(strings.NewReader(c.row), "row", ReadOptions{})
		var bad *ValidationError
		if !errors.As(err, &bad) {
			t.Errorf("%s: accepted, %v", c.row, err)
			continue
		}
		found := false
		for _, p := range bad.Problems {
			found = found || p.Field == c.field && strings.Contains(p.Found, c.says) && p.Hint != ""
		}
		if !found {
			t.Errorf("%s: want %s at %s, got %v", c.row, c.says, c.field, err)
		}
	}
}

func TestArrays(t *testing.T) {
	t.Parallel()
	const row = `{"instruction":"a ] , [ \" }","output":"b"}`
	for _, c := range []struct {
		data string
		rows int
		says string // of the refusal, "" for none
	}{
		{"[" + row + "]", 1, ""},
		{"\n[\n" + row + " ,\n" + row + "\n]\n \n", 2, ""},
		{"[" + row + " " + row + "]", 2, "comma is missing between row 1 and the next"},
		{"[" + row + "," + row + ",]", 2, "comma stands before the end"},
		{"[" + row + ",," + row + "]", 2, "missing between two commas"},
		{"[" + row + "," + row, 2, "the array has no end after row 2"},
		{"[" + row + ",", 1, "the array has no end after row 1"},
		{"[", 0, "cut off"},
		{"[" + row + "]" + row, 1, "after the end of the array"},
		{"[\n1, null ,\"x\"\n,[2], " + row + "]", 1, "row 3 (line 2): a string"},
		{"[" + row + ",\n{\"instruction\":\"a\nb\"},\n" + row + "]", 2, "row 2 (line 2)"},
		{"[{\"instruction\":\"a\",\n\"output\":\"b\nc\"}]", 0, "row 1 (line 2)"},
		{row + row + "\n", 2, ""},
		{"{\n" + row[1:] + "{\n" + row[1:], 2, ""},
		{"{\n" + row[1:] + "\n{\n\"instruction\":", 1, "cut off"},
	} {
		rows, _, err := ReadAll(iotest.OneByteReader(strings.NewReader(c.data)), "array", ReadOptions{})
		if len(rows) != c.rows || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s\n%d rows, want %d; error %v, want %q", c.data, len(rows), c.rows, err, c.says)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const row = `{"instruction":"a","output":"b"}` + "\n"
	long := `{"instruction":"a","output":"` + strings.Repeat("b", 5000) + `"}`
	for _, data := range []string{row + long + "\n" + row, "[" + row + "," + long + "," + row + "]"} {
		rows, _, err := ReadAll(strings.NewReader(data), "long", ReadOptions{MaxRowBytes: 1000})
		if len(rows) != 2 || err == nil || !strings.Contains(err.Error(), "limit of 1000") {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	fmt.Fprint(zip, strings.Repeat(row, 10_000))
	zip.Close()
	if _, _, err := ReadAll(bytes.NewReader(packed.Bytes()), "bomb", ReadOptions{MaxUnpackedBytes: 100_000}); err == nil || !strings.Contains(err.Error(), "size limit") {
		t.Errorf("a gzip file beyond the limit: %v", err)
	}
	if _, _, err := ReadAll(bytes.NewReader(packed.Bytes()[:packed.Len()-9]), "cut", ReadOptions{}); !IsInvalid(err) || !strings.Contains(err.Error(), "gzip") {
		t.Errorf("a gzip file that is cut off: %v", err)
	}
	rows, report, err := ReadAll(bytes.NewReader(packed.Bytes()), "good", ReadOptions{})
	if err != nil || len(rows) != 10_000 || report.Repeats != 9_999 || report.Packed != FormatGzip || report.Bytes != int64(packed.Len()) {
		t.Errorf("%d rows, %+v, %v", len(rows), report, err)
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(packed.Bytes())); report.Digest != want {
		t.Errorf("digest %s, want %s", report.Digest, want)
	}
}

func TestReadError(t *testing.T) {
	t.Parallel()
	broken := io.MultiReader(strings.NewReader(strings.Repeat(`{"instruction":"a","output":"b"}`+"\n", 5000)), iotest.ErrReader(io.ErrClosedPipe))
	if _, _, err := ReadAll(broken, "pipe", ReadOptions{}); err == nil || IsInvalid(err) || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("an error of reading is no error of the user: %v", err)
	}
}

// FuzzWalker holds the walker against encoding/json: both accept the same texts, and decode them to the same strings.
func FuzzWalker(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+3,true,false,null,"x\n\u00e9\ud83d\ude00"]}`, `{"a":1,}`, `[1 2]`, `01`, `-`, `1.`, `1e`, `.5`, `tru`, `truex`, `"\x"`,
		`"\u12"`, `"a` + "\t" + `"`, `{"a" 1}`, `{a:1}`, `{"a":}`, `[,]`, ``, ` `, `"\/\b\f\r\t\\"`, `"\ud83d\ud83d\ude00"`, `{"a":1}x`, `nul`, `"`, `[`, `{`, `{"`, "\x00", `""""`, `"\ud800\u0041"`, `-0`, `1E-2`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if at, _ := validUTF8([]byte(s)); at >= 0 {
			return
		}
		w := &walker{b: []byte(s)}
		v, err := w.value()
		w.space()
		if err != nil && err.code == CodeTooDeep {
			return
		}
		if ok := err == nil && w.i == len(w.b); ok != json.Valid([]byte(s)) {
			t.Fatalf("%q: walker %v %v, encoding/json %v", s, ok, err, !ok)
		} else if !ok || v.kind != kindString || len(w.issues) > 0 {
			return
		}
		var want string
		if err := json.Unmarshal([]byte(s), &want); err != nil || v.str != want {
			t.Fatalf("%q: walker %q, encoding/json %q", s, v.str, want)
		}
	})
}
