package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"descant/pkg/chat"
)

func read(t *testing.T, data string, opts ReadOptions) ([]Row, *Report, error) {
	t.Helper()
	return ReadAll(strings.NewReader(data), "rows", opts)
}

func turns(pairs ...string) (list []chat.Message) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, chat.Message{Role: pairs[i], Content: pairs[i+1]})
	}
	return list
}

func TestTables(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data   string
		format Format
		want   [][]chat.Message
	}{
		"csv":        {"instruction,input,output\n\"a \"\"b\"\", c\",,\"d\ne\"\nf,g,h\n", FormatTable, [][]chat.Message{turns("user", `a "b", c`, "assistant", "d\ne"), turns("user", "f\ng", "assistant", "h")}},
		"tsv":        {"\xef\xbb\xbfprompt\tcompletion\r\na, b\tc\r\n", FormatTable, [][]chat.Message{turns("user", "a, b", "assistant", "c")}},
		"semicolons": {"system; instruction ;output\ns;a;b\n;c;d\n", FormatTable, [][]chat.Message{turns("system", "s", "user", "a", "assistant", "b"), turns("user", "c", "assistant", "d")}},
		"json cells": {"messages\tid\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"a\"\"},{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"b\"\"}]\"\t7\n", FormatTable, [][]chat.Message{turns("user", "a", "assistant", "b")}},
	} {
		rows, report, err := read(t, c.data, ReadOptions{})
		if err != nil || report.Format != c.format {
			t.Errorf("%s: %v, format %s", name, err, report.Format)
			continue
		}
		for i, row := range rows {
			if !reflect.DeepEqual(row.Messages, c.want[i]) {
				t.Errorf("%s row %d: %+v, want %+v", name, i, row.Messages, c.want[i])
			}
		}
		if len(rows) != len(c.want) {
			t.Errorf("%s: %d rows, want %d", name, len(rows), len(c.want))
		}
	}
	for data, want := range map[string]string{
		"instruction,output,output\na,b,c\n":                       `two columns are called "output"`,
		"messages,id\n[],1\n{},2\nx,3\n":                           "3 problems in 3 rows, lines 2-4",
		"instruction,output\na,\"" + strings.Repeat("x\n", 99_000): "more than 100 bytes",
		"instruction,output\n\"\xc4\xe3\xba\xc3\",b\n":             "GB18030",
	} {
		if _, _, err := read(t, data, ReadOptions{MaxRowBytes: 100}); !IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", data, err, want)
		}
	}
}

func TestZstd(t *testing.T) {
	t.Parallel()
	const row = `{"instruction":"a","output":"b"}` + "\n"
	var packed bytes.Buffer
	zip, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(zip, strings.Repeat(row, 10_000))
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	rows, report, err := read(t, packed.String(), ReadOptions{})
	if err != nil || len(rows) != 10_000 || report.Packed != FormatZstd || report.Bytes != int64(packed.Len()) {
		t.Errorf("%d rows, %+v, %v", len(rows), report, err)
	}
	for name, c := range map[string]struct {
		data string
		opts ReadOptions
		want string
	}{
		"limit":   {packed.String(), ReadOptions{MaxUnpackedBytes: 100_000}, "size limit"},
		"cut off": {packed.String()[:packed.Len()-5], ReadOptions{}, "zstd data can't be unpacked"},
		"damaged": {packed.String()[:4] + "xxxx" + packed.String()[8:], ReadOptions{}, "zstd data can't be unpacked"},
	} {
		if _, _, err := read(t, c.data, c.opts); !IsInvalid(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// parquetFile writes rows with the library's own layout of lists and structs, which is the one of pyarrow.
func parquetFile[T any](t *testing.T, rows []T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, parquet.Compression(&parquet.Snappy))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParquet(t *testing.T) {
	t.Parallel()
	type turn struct {
		Role    string  `parquet:"role"`
		Content string  `parquet:"content"`
		Name    *string `parquet:"name,optional"`
	}
	type conversation struct {
		ID       int64  `parquet:"id"`
		Messages []turn `parquet:"messages,list"`
	}
	var many []conversation
	for i := range 200 {
		many = append(many, conversation{int64(i), []turn{{Role: "user", Content: fmt.Sprint(i)}, {Role: "assistant", Content: "ok"}}})
	}
	data := parquetFile(t, many)
	file := filepath.Join(t.TempDir(), "rows.bin")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	rows, report, err := ReadFile(file, ReadOptions{})
	if err != nil || len(rows) != 200 || report.Format != FormatParquet || report.Bytes != int64(len(data)) || report.UnknownKeys["id"] != 200 {
		t.Fatalf("%d rows, %+v, %v", len(rows), report, err)
	}
	if want := turns("user", "199", "assistant", "ok"); !reflect.DeepEqual(rows[199].Messages, want) || rows[199].Where() != "row 200" {
		t.Errorf("%s is %+v, want %+v", rows[199].Where(), rows[199].Messages, want)
	}

	type alpaca struct {
		Instruction string  `parquet:"instruction"`
		Output      *string `parquet:"output,optional"`
	}
	answer := "b"
	_, _, err = ReadAll(bytes.NewReader(parquetFile(t, []alpaca{{"a", &answer}, {"c", nil}})), "bad.parquet", ReadOptions{})
	var bad *ValidationError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), `row 2: the field "output" is missing`) || !bad.Lines.Has(2) {
		t.Errorf("a row without an answer: %v", err)
	}
	for name, in := range map[string]io.Reader{"damaged": bytes.NewReader(data[:len(data)-30]), "a stream": io.MultiReader(bytes.NewReader(data))} {
		if _, _, err := ReadAll(in, name, ReadOptions{}); !IsInvalid(err) || !strings.Contains(err.Error(), "parquet data can't be unpacked") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlainText(t *testing.T) {
	t.Parallel()
	rows, report, err := read(t, "{\"text\":\"Once upon a time\"}\n{\"text\":\" \"}\n{\"text\":\"The end\"}\n", ReadOptions{System: "not for texts"})
	if err != nil || len(rows) != 2 || rows[0].Text != "Once upon a time" || rows[0].Messages != nil || report.Shapes[ShapeText] != 2 || !report.LeftOut.Lines.Has(2) {
		t.Fatalf("%+v, %+v, %v", rows, report, err)
	}
	for _, lossOn := range []string{LossFull, LossCompletion, LossLastTurn} {
		result, shards, _ := tokenise(t, `{"text":"abc"}`, TokeniseOptions{LossOn: lossOn})
		if _, labels := shards.Row(0); result.TrainedTokens != 2 || labels[2] != 'c' {
			t.Errorf("%s: labels %v", lossOn, labels)
		}
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	columns := map[string]string{"instruction": "q", "output": "a"}
	for _, data := range []string{`{"q":"x","a":"y","n":1}`, "q,n,a\nx,1,y\n"} {
		rows, report, err := read(t, data, ReadOptions{Columns: columns})
		if err != nil || len(rows) != 1 || !reflect.DeepEqual(rows[0].Messages, turns("user", "x", "assistant", "y")) || report.UnknownKeys["n"] != 1 {
			t.Errorf("%s: %+v, %v", data, rows, err)
		}
	}
	rows, _, err := read(t, `{"input":"x","instruction":"y","output":"z"}`, ReadOptions{Columns: map[string]string{"instruction": "input", "input": "instruction"}})
	if err != nil || !reflect.DeepEqual(rows[0].Messages, turns("user", "x\ny", "assistant", "z")) {
		t.Errorf("two columns change places: %+v, %v", rows, err)
	}
	if _, _, err := read(t, `{"q":"x","a":"y","output":"z"}`, ReadOptions{Columns: columns}); !IsInvalid(err) || !strings.Contains(err.Error(), `"a" stands for the field "output"`) {
		t.Errorf("both names: %v", err)
	}
}

func TestDefaultSystem(t *testing.T) {
	t.Parallel()
	rows, _, err := read(t, `{"instruction":"a","output":"b"}
{"instruction":"a","output":"b","system":"own"}
{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":1}]}`, ReadOptions{System: "given"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"given", "own", "given"} {
		if m := rows[i].Messages; len(m) != 3 || m[0].Role != "system" || m[0].Content != want {
			t.Errorf("row %d: %+v, want the system text %q", i, m, want)
		}
	}
	if want := []bool{false, false, true}; !reflect.DeepEqual(rows[2].Weights, want) {
		t.Errorf("weights %v, want %v", rows[2].Weights, want)
	}
}

func TestTrainedTurns(t *testing.T) {
	t.Parallel()
	row := func(first, second string) string {
		return `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"` + first + `},{"role":"user","content":"c"},{"role":"assistant","content":"d"` + second + `}]}`
	}
	const no = IgnoreLabel
	for _, c := range []struct {
		row, lossOn string
		want        []int32 // the labels of 302 a 299 303 b 299 302 c 299 303 d 299
	}{
		{row("", ""), LossCompletion, []int32{no, no, no, no, 'b', 299, no, no, no, no, 'd', 299}},
		{row("", ""), LossLastTurn, []int32{no, no, no, no, no, no, no, no, no, no, 'd', 299}},
		{row(`,"weight":0`, ""), LossFull, []int32{no, no, no, no, no, no, no, no, no, no, 'd', 299}},
		{row(`,"weight":1`, `,"weight":0`), LossLastTurn, []int32{no, no, no, no, 'b', 299, no, no, no, no, no, no}},
	} {
		_, shards, _ := tokenise(t, c.row, TokeniseOptions{LossOn: c.lossOn})
		if _, labels := shards.Row(0); !reflect.DeepEqual(labels, c.want) {
			t.Errorf("%s of %s: labels %v, want %v", c.lossOn, c.row, labels, c.want)
		}
	}
	_, report, err := read(t, row(`,"weight":0`, `,"weight":0`), ReadOptions{})
	if !IsInvalid(err) || report.LeftOut.Reasons[ReasonNoWeight] != 1 {
		t.Errorf("nothing is trained: %v, %+v", err, report)
	}
}

func TestConversationsInMessagesForm(t *testing.T) {
	t.Parallel()
	rows, _, err := read(t, `{"conversations":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, ReadOptions{})
	if err != nil || !reflect.DeepEqual(rows[0].Messages, turns("user", "a", "assistant", "b")) {
		t.Errorf("%+v, %v", rows, err)
	}
}

// TestParquetTools: descriptions of tools may be structs in Parquet; keys keep the order of the schema, and keys that are
// null in a row are not there.
func TestParquetTools(t *testing.T) {
	t.Parallel()
	type tool struct {
		Type string  `parquet:"type"`
		Name string  `parquet:"name"`
		More *string `parquet:"more,optional"`
	}
	type row struct {
		Prompt     string `parquet:"prompt"`
		Completion string `parquet:"completion"`
		Tools      []tool `parquet:"tools,list"`
	}
	rows, _, err := ReadAll(bytes.NewReader(parquetFile(t, []row{{"a", "b", []tool{{Type: "function", Name: "<f>"}}}, {"a", "c", nil}})), "tools", ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(rows[0].Tools, &got); err != nil || len(got) != 1 || got[0]["name"] != "<f>" || len(got[0]) != 2 || !bytes.Contains(rows[0].Tools, []byte("<f>")) {
		t.Errorf("tools %s, %v", rows[0].Tools, err)
	}
	if rows[1].Tools != nil {
		t.Errorf("tools %s in a row without", rows[1].Tools)
	}
}
