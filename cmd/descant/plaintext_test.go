package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"descant/pkg/dataset"
	"descant/pkg/job"
)

const book = "Call me Ishmael.\nSome years ago\n\nIt is a way I have.\n\n\nWhenever it is damp\n"

// TestPlainTextCommands has `validate` and `preview` read a text, and a damaged one refused with its line.
func TestPlainTextCommands(t *testing.T) {
	t.Parallel()
	path := write(t, "book.txt", book)
	code, out, problems := cli(t, nil, "validate", path, "--model", badModel, "--loss-on", "completion", "--json")
	var survey dataset.Survey
	if code != exitOK || json.Unmarshal([]byte(out), &survey) != nil {
		t.Fatalf("exit code %d: %s%s", code, out, problems)
	}
	if r := survey.Report; r.Rows != 3 || r.Format != dataset.FormatText || r.Shapes[dataset.ShapeText] != 3 || survey.Tokens.TrainedTokens != survey.Tokens.Tokens-3 {
		t.Errorf("survey %s", out)
	}
	code, out, problems = cli(t, nil, "preview", path, "--row", "2", "--model", badModel, "--json")
	var p preview
	if code != exitOK || json.Unmarshal([]byte(out), &p) != nil || p.Line != 4 || p.Shape != dataset.ShapeText || p.Text != "It is a way I have." {
		t.Errorf("exit code %d, preview %+v: %s", code, p, problems)
	}
	code, _, problems = cli(t, nil, "validate", write(t, "bad.txt", "good\n\nna\xefve\n"))
	if code != exitFailed || !strings.Contains(problems, "line 3") || !strings.Contains(problems, "UTF-8") {
		t.Errorf("exit code %d: %s", code, problems)
	}
}

// TestPlainTextJob sends texts as jobs: pushed under a name, by digest, and as an object of the store, alone and in a
// mixture. It is not parallel: see TestBadInputJob.
func TestPlainTextJob(t *testing.T) {
	t.Chdir(".")
	s := startPipeline(t)
	path := filepath.Join(t.TempDir(), "book.txt")
	if err := os.WriteFile(path, []byte(book), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := pushFile(t.Context(), s, "novel", path, dataset.ReadOptions{})
	if err != nil || set.Rows != 3 || set.File != "book.txt" {
		t.Fatalf("pushed %+v: %v", set, err)
	}
	damaged, err := s.objects.PutContent(t.Context(), []byte("good\n\nna\xefve\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.objects.Put(t.Context(), "others/Book.TXT", strings.NewReader(book), int64(len(book))); err != nil {
		t.Fatal(err)
	}
	chat, err := s.objects.PutContent(t.Context(), []byte(`{"instruction":"a","output":"b"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		data string
		rows uint32
		says string // in the error
	}{
		{`"dataset":"novel"`, 3, ""},
		{fmt.Sprintf(`"dataset":"%s/book.txt"`, set.Digest), 3, ""},
		{`"dataset":"s3://others/Book.TXT"`, 3, ""},
		{fmt.Sprintf(`"datasets":["novel",%q]`, chat), 4, ""},
		{fmt.Sprintf(`"dataset":%q,"eval_dataset":"novel","eval_steps":1`, chat), 1, ""},
		{fmt.Sprintf(`"dataset":%q`, set.Digest), 0, "called .txt"},
		{fmt.Sprintf(`"datasets":[%q,"%s/bad.txt"]`, chat, damaged), 0, "byte 0xef at offset 8"},
	} {
		view, err := submit(t.Context(), s.bus, []byte(`{"model":"`+badModel+`",`+c.data+`}`), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		done := waitTokenized(t, s.bus, view)
		if c.says == "" {
			if done.GetState() != string(job.StateQueued) || done.GetArtifacts().GetRows() != c.rows {
				t.Errorf("%s: state %s, %d rows, want %d: %v", c.data, done.GetState(), done.GetArtifacts().GetRows(), c.rows, done.GetError())
			}
			continue
		}
		if done.GetState() != string(job.StateFailed) || !strings.Contains(done.GetError().String(), c.says) {
			t.Errorf("%s: state %s, error %v, want %q", c.data, done.GetState(), done.GetError(), c.says)
		}
	}
}

// TestPlainTextTrain trains on a text by the command, alone and beside rows of a conversation. It is not parallel: see
// TestBadInputJob.
func TestPlainTextTrain(t *testing.T) {
	t.Chdir(".")
	path, rows := write(t, "book.txt", book), write(t, "rows.jsonl", `{"instruction":"a","output":"b"}`+"\n")
	for _, data := range [][]string{{"--dataset", path}, {"--datasets", path + "=2," + rows}} {
		out := filepath.Join(t.TempDir(), "out")
		args := append([]string{"train", "--model", badModel, "--output-dir", out, "--max-steps", "3", "--max-length", "64", "--gradient-accumulation-steps", "1"}, data...)
		code, _, problems := cli(t, apart(t), args...)
		if code != exitOK {
			t.Fatalf("%v: exit code %d: %s", data, code, problems)
		}
		if !strings.Contains(problems, "every paragraph as a row") {
			t.Errorf("%v: it is not told that the file is a text: %s", data, problems)
		}
		if _, err := os.Stat(filepath.Join(out, "adapter_model.safetensors")); err != nil {
			t.Errorf("%v: %v", data, err)
		}
	}
}
