package bus_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	temperature := 0.0
	spec, err := bus.Object([]byte(`{"r": 8, "lr": 2e-4, "nested": {"b": [1, "x"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC)
	for want, m := range map[string]proto.Message{
		`{"job":"j","type":"step","time":"2026-01-02T03:04:05.600Z","seq":0,"epoch":7,"step":{"step":1,"total":2,"loss":0,"lr":0.0002,"grad_norm":1e-9,"tokens":9007199254740993,"trained_tokens":0,"tokens_per_second":1.5,"eta":0,"epoch":0}}`: &pb.Event{
			Job: "j", Type: "step", Time: bus.Timestamp(at), Epoch: 7,
			Step: &pb.Step{Step: 1, Total: 2, Lr: 2e-4, GradNorm: 1e-9, Tokens: 1<<53 + 1, TokensPerSecond: 1.5},
		},
		`{"model":"<a>&\"\n","messages":[{"role":"user","content":"嗨"},{}],"max_tokens":0,"temperature":0}`: &pb.ChatRequest{
			Model: "<a>&\"\n", Messages: []*pb.ChatMessage{{Role: "user", Content: "嗨"}, {}}, Temperature: &temperature,
		},
		`{"service":"s","values":{"a":1,"b":"NaN","c":"-Infinity"}}`: &pb.MetricSample{
			Service: "s", Values: map[string]float64{"b": math.NaN(), "a": 1, "c": math.Inf(-1)},
		},
		`{"id":"j","spec":{"lr":0.0002,"nested":{"b":[1,"x"]},"r":8},"epoch":0,"attempts":0}`: &pb.JobView{Id: "j", Spec: spec},
		`{"stage":"train","payload":"AQI=","deliveries":3}`:                                   &pb.DeadLetter{Stage: "train", Payload: []byte{1, 2}, Deliveries: 3},
		`{}`: &pb.ListAdaptersRequest{},
	} {
		got, err := bus.ToJSON(m)
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
		back := m.ProtoReflect().New().Interface()
		if err := bus.FromJSON(got, back); err != nil {
			t.Errorf("%s: %v", got, err)
		}
		again, err := bus.ToJSON(back) // proto.Equal finds no NaN equal
		if err != nil || string(again) != want {
			t.Errorf("came back as %s, %v", again, err)
		}
	}
	for _, bad := range []string{`{"promt":"x"}`, `{"prompt":1}`, `[]`, `{"prompt":"a","prompt":"b"}`, ``} {
		if err := bus.FromJSON([]byte(bad), new(pb.ChatRequest)); err == nil || !strings.Contains(err.Error(), "ChatRequest") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if bus.Timestamp(time.Time{}) != nil {
		t.Error("the zero time must be no time")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := bus.Defaults().Validate(); err != nil {
		t.Error(err)
	}
	err := bus.Config{Replicas: 2, AckWait: time.Millisecond, Retention: -1}.Validate()
	for _, want := range []string{"url", "replicas", "ack_wait", "retention", "timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	cfg := bus.Defaults()
	cfg.URL = "nats://127.0.0.1:1"
	if _, err := bus.Connect(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), "descant up") {
		t.Error(err)
	}
}

// TestObject keeps the digits of whole numbers that float64 does not hold.
func TestObject(t *testing.T) {
	t.Parallel()
	object, err := bus.Object([]byte(`{"n":[9007199254740992,9007199254740993,-9223372036854775807],"x":1e300,"s":"12345678901234567890"}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := bus.ToJSON(&pb.JobView{Spec: object})
	const want = `"n":[9007199254740992,"9007199254740993","-9223372036854775807"],"s":"12345678901234567890","x":1e+300`
	if err != nil || !strings.Contains(string(got), want) {
		t.Errorf("got %s, %v", got, err)
	}
	for _, bad := range []string{`[]`, `{`, `{"a":1e999}`, ``} {
		if _, err := bus.Object([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
