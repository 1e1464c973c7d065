package openai

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

func TestReadFineTuningJob(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, want string }{
		"least": {`{"model":"m","training_file":"file-1"}`, `{"dataset":"file-1","model":"m"}`},
		"all": {`{"model":"m","training_file":"file-1","validation_file":"file-2","suffix":"mine","seed":1,"integrations":[],"metadata":{"a":"b"},
			"method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":3,"batch_size":4,"learning_rate_multiplier":0.5}}},"r":16}`,
			`{"dataset":"file-1","eval_dataset":"file-2","gradient_accumulation_steps":4,"learning_rate":0.0001,"metadata":{"a":"b"},"model":"m","name":"mine","num_train_epochs":3,"per_device_train_batch_size":1,"r":16,"seed":1}`},
		"older form": {`{"model":"m","training_file":"f","hyperparameters":{"n_epochs":2,"batch_size":"auto","learning_rate_multiplier":"auto"},"suffix":null}`,
			`{"dataset":"f","model":"m","num_train_epochs":2}`},
		"ours": {`{"model":"m","dataset":"builtin:sample","name":"x","method":"full"}`, `{"dataset":"builtin:sample","method":"full","model":"m","name":"x"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ReadFineTuningJob([]byte(tt.body))
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestReadFineTuningJobRefusesByName(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, param, code string }{
		"method":      {`{"model":"m","method":{"type":"dpo"}}`, "method.type", CodeUnsupportedParameter},
		"method's":    {`{"model":"m","method":{"type":"supervised","x":1}}`, "method.x", CodeUnknownParameter},
		"integration": {`{"model":"m","integrations":[{"type":"wandb"}]}`, "integrations", CodeUnsupportedParameter},
		"fraction":    {`{"model":"m","hyperparameters":{"n_epochs":1.5}}`, "hyperparameters.n_epochs", CodeInvalidValue},
		"word":        {`{"model":"m","hyperparameters":{"n_epochs":"many"}}`, "hyperparameters.n_epochs", CodeInvalidValue},
		"unknown":     {`{"model":"m","hyperparameters":{"epochs":1}}`, "hyperparameters.epochs", CodeUnknownParameter},
		"both":        {`{"model":"m","hyperparameters":{"n_epochs":1},"max_steps":5}`, "hyperparameters.n_epochs", CodeInvalidValue},
		"both forms":  {`{"hyperparameters":{"batch_size":1},"method":{"type":"supervised","supervised":{"hyperparameters":{"batch_size":2}}}}`, "method.supervised.hyperparameters.batch_size", CodeInvalidValue},
		"both files":  {`{"model":"m","training_file":"a","dataset":"b"}`, "training_file", CodeInvalidValue},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ReadFineTuningJob([]byte(tt.body))
			var e *Error
			if !errors.As(err, &e) || textOf(e.Param) != tt.param || textOf(e.Code) != tt.code {
				t.Errorf("error %+v", e)
			}
		})
	}
	err := JobRequestError(job.UserError(job.CodeBadRequest, "bad", "", job.Problem{Field: "name", Reason: "is bad"}))
	if e := AsError(err); textOf(e.Param) != "suffix" || e.Problems[0].Param != "suffix" {
		t.Errorf("error %+v", e)
	}
}

func TestNewFineTuningJob(t *testing.T) {
	t.Parallel()
	request := job.NewRequest()
	request.Model, request.MaxSteps, request.NumTrainEpochs, request.GradientAccumulationSteps = "m", 0, 2, 8
	request.Seed = math.MaxInt64 // which travels as a text
	spec := job.NewSpec(request, "sha256:aa", "sha256:aa", nil)
	object, err := bus.Object(spec.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	at := timestamppb.New(time.Unix(1000, 0))
	shown := &pb.JobView{Id: "ft-1", State: "training", Spec: object, Dataset: "file-1", CreatedAt: at, UpdatedAt: at,
		Progress: &pb.Step{Step: 3, Total: 10, Loss: 1.5, TrainedTokens: 7, Eta: 4.2}}
	one, err := NewFineTuningJob(shown)
	if err != nil {
		t.Fatal(err)
	}
	if one.Seed != math.MaxInt64 || one.Status != StatusRunning || one.TrainingFile != "file-1" || one.Hyperparameters.NEpochs != 2 || one.Hyperparameters.BatchSize != 8 ||
		one.Hyperparameters.LearningRateMultiplier != 1 || *one.EstimatedFinish != 1005 || one.Error != nil || one.FineTunedModel != nil || one.TrainedTokens != nil {
		t.Errorf("running %+v", one)
	}
	shown.State, shown.Error = "failed", &pb.Error{Code: string(job.CodeBadDataset), Message: "row 3 is bad", NextStep: "mend it"}
	if one, err = NewFineTuningJob(shown); err != nil || one.Error.Message != "row 3 is bad; mend it" || textOf(one.Error.Param) != "training_file" {
		t.Errorf("failed %+v, %v", one.Error, err)
	}
	shown.State, shown.FinishedAt, shown.Artifacts = "succeeded", at, &pb.Artifacts{AdapterRef: "mine@1"}
	if one, err = NewFineTuningJob(shown); err != nil || textOf(one.FineTunedModel) != "mine@1" || *one.TrainedTokens != 7 || *one.FinishedAt != 1000 || one.Error != nil {
		t.Errorf("succeeded %+v, %v", one, err)
	}
	for _, state := range job.States() {
		if status := JobStatus(string(state)); status == StatusFailed && state != job.StateFailed {
			t.Errorf("state %s has no status", state)
		}
	}
	if _, err := NewFineTuningJob(&pb.JobView{Spec: &structpb.Struct{}}); err == nil {
		t.Error("a spec that is none is shown")
	}
}

func TestNewFineTuningEvent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		event *pb.Event
		want  string
	}{
		"state": {&pb.Event{Seq: 1, Type: bus.EventState, State: "queued"},
			`{"id":"ftevent-1","object":"fine_tuning.job.event","created_at":0,"level":"info","message":"The job is queued","type":"message","data":{"state":"queued","status":"queued"}}`},
		"failed": {&pb.Event{Seq: 2, Type: bus.EventState, State: "failed", Message: "failed", Error: &pb.Error{Message: "no disk", NextStep: "make room"}},
			`{"id":"ftevent-2","object":"fine_tuning.job.event","created_at":0,"level":"error","message":"failed: no disk; make room","type":"message","data":{"state":"failed","status":"failed"}}`},
		"step": {&pb.Event{Seq: 3, Type: bus.EventStep, Step: &pb.Step{Step: 2, Total: 4, Loss: 0.5}},
			`{"id":"ftevent-3","object":"fine_tuning.job.event","created_at":0,"level":"info","message":"Step 2/4: training loss=0.5000","type":"metrics","data":{"step":2,"total_steps":4,"train_loss":0.5,"learning_rate":0,"grad_norm":0,"epoch":0,"tokens":0,"tokens_per_second":0,"eta_seconds":0}}`},
		"eval": {&pb.Event{Seq: 4, Type: bus.EventEval, Evaluation: &pb.Evaluation{Step: 2, Loss: 0.25, BaseLoss: 1}},
			`{"id":"ftevent-4","object":"fine_tuning.job.event","created_at":0,"level":"info","message":"Step 2: validation loss=0.2500","type":"metrics","data":{"step":2,"valid_loss":0.25,"base_loss":1,"best_loss":0,"best_step":0,"rows":0}}`},
		"log": {&pb.Event{Seq: 5, Type: bus.EventLog, Level: "warn", Message: "slow"},
			`{"id":"ftevent-5","object":"fine_tuning.job.event","created_at":0,"level":"warn","message":"slow","type":"message","data":null}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(NewFineTuningEvent(tt.event))
			if err != nil || string(got) != tt.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
	if seq, err := ParseEventID(EventID(77)); err != nil || seq != 77 {
		t.Errorf("id of 77 is read as %d, %v", seq, err)
	}
	for _, bad := range []string{"77", "ftevent-", "ftevent-0", "ftevent-077", "ftevent--1"} {
		if _, err := ParseEventID(bad); err == nil {
			t.Errorf("%q is read as an event's id", bad)
		}
	}
}
