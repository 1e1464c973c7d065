package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// TestLeakJob sends jobs whose rows for evaluation are among their training rows, also when all shards are there already.
// It is not parallel: see TestBadInputJob.
func TestLeakJob(t *testing.T) {
	t.Chdir(".")
	s := startPipeline(t)
	put := func(file, data string) string {
		t.Helper()
		digest, err := s.objects.PutContent(t.Context(), []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return job.DigestRef(digest, file)
	}
	const row = `{"instruction":%q,"output":%q}` + "\n"
	train := put("train.jsonl", fmt.Sprintf(row, "Who are you?", "A.")+"\n"+fmt.Sprintf(row, "2+2?", "5")+fmt.Sprintf(row, "2-2?", "0"))
	more := put("more.jsonl", fmt.Sprintf(row, "who are YOU", "a"))
	eval := put("eval.jsonl", fmt.Sprintf(row, "who are you", "a!")+fmt.Sprintf(row, "2+2?", "4")+fmt.Sprintf(row, "3?", "3"))
	clean := put("clean.jsonl", fmt.Sprintf(row, "Nothing of it", "is there"))
	for _, c := range []struct {
		name, data string
		want       *pb.Leak
		says       string
	}{
		{"fresh", fmt.Sprintf(`"dataset":%q,"eval_dataset":%q`, train, eval), &pb.Leak{EvalRows: 3, Leaked: 2, SameRow: 1, SameQuestion: 1}, "evaluation: 1 = 1, 3 = 2 (another answer)"},
		{"shards that are there", fmt.Sprintf(`"dataset":%q,"eval_dataset":%q,"r":4`, train, eval), &pb.Leak{EvalRows: 3, Leaked: 2, SameRow: 1, SameQuestion: 1}, "evaluation: 1 = 1, 3 = 2 (another answer)"},
		{"several datasets", fmt.Sprintf(`"datasets":[%q,%q],"eval_dataset":%q`, train, more, eval), &pb.Leak{EvalRows: 3, Leaked: 2, SameRow: 2, SameQuestion: 1}, "train.jsonl 1 = 1, train.jsonl 3 = 2 (another answer), more.jsonl 1 = 1"},
		{"rows that a weight leaves out", fmt.Sprintf(`"datasets":[{"name":%q,"weight":0.0001},%q],"eval_dataset":%q`, put("two.jsonl", strings.Repeat(fmt.Sprintf(row, "3?", "3"), 2)), train, eval), nil, "no row is left to train"},
		{"none", fmt.Sprintf(`"dataset":%q,"eval_dataset":%q`, train, clean), &pb.Leak{EvalRows: 1}, "none of its 1 rows is among the training rows"},
		{"no evaluation", fmt.Sprintf(`"dataset":%q`, train), nil, ""},
	} {
		view, err := submit(t.Context(), s.bus, []byte(`{"model":"`+badModel+`",`+c.data+`}`), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		done := waitTokenized(t, s.bus, view)
		if got := done.GetArtifacts().GetLeak(); !proto.Equal(got, c.want) {
			t.Errorf("%s: leak %v, want %v", c.name, got, c.want)
		}
		warnings := strings.Join(done.GetWarnings(), "\n")
		if told := c.says != "" && strings.Contains(warnings, c.says); told != (c.want.GetLeaked() > 0) {
			t.Errorf("%s: warnings %q", c.name, warnings)
		}
		if !strings.Contains(logged(t, s.bus, done.GetId())+done.GetError().String(), c.says) {
			t.Errorf("%s: no event says %q", c.name, c.says)
		}
	}
}

// logged are the texts of the log events of a job so far. What the tokenizer says in the end comes in one batch with the state.
func logged(t *testing.T, b *bus.Bus, id string) (texts string) {
	t.Helper()
	for event, err := range b.Follow(t.Context(), id, bus.FollowOptions{Past: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.GetType() == bus.EventLog {
			texts += event.GetMessage() + "\n"
		}
	}
	return texts
}
