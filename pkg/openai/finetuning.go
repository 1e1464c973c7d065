package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"descant/pkg/job"
	"descant/pkg/pb"
)

// FineTuningJob is a job as the API shows it.
type FineTuningJob struct {
	ID              string            `json:"id"`
	Object          string            `json:"object"` // fine_tuning.job
	CreatedAt       int64             `json:"created_at"`
	Error           *JobError         `json:"error"`
	FineTunedModel  *string           `json:"fine_tuned_model"`
	FinishedAt      *int64            `json:"finished_at"`
	EstimatedFinish *int64            `json:"estimated_finish"`
	Hyperparameters Hyperparameters   `json:"hyperparameters"`
	Method          Method            `json:"method"`
	Model           string            `json:"model"`
	OrganizationID  string            `json:"organization_id"`
	ResultFiles     []string          `json:"result_files"`
	Seed            int64             `json:"seed"`
	Status          string            `json:"status"`
	TrainedTokens   *int64            `json:"trained_tokens"`
	TrainingFile    string            `json:"training_file"`
	ValidationFile  *string           `json:"validation_file"`
	Integrations    []struct{}        `json:"integrations"`
	Metadata        map[string]string `json:"metadata"`
	// Descant is all that the API has no words for.
	Descant JobDetails `json:"descant"`
}

// JobDetails are the parts of a job that only descant has.
type JobDetails struct {
	State      string          `json:"state"`
	Name       string          `json:"name"`
	Training   job.Training    `json:"training"`
	Progress   *Progress       `json:"progress"`
	Evaluation *EvaluationData `json:"evaluation"`
	Warnings   []string        `json:"warnings"`
}

// JobError says why a job failed.
type JobError struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
}

// Hyperparameters are those that the API has; the numbers of a job, or "auto" where descant's own say more.
type Hyperparameters struct {
	NEpochs                any     `json:"n_epochs"`
	BatchSize              int     `json:"batch_size"`
	LearningRateMultiplier float64 `json:"learning_rate_multiplier"`
}

// Method is the kind of training.
type Method struct {
	Type       string     `json:"type"` // supervised
	Supervised Supervised `json:"supervised"`
}

// Supervised has the hyper-parameters once more.
type Supervised struct {
	Hyperparameters Hyperparameters `json:"hyperparameters"`
}

// Progress is the last step that was reported.
type Progress struct {
	Step            uint32  `json:"step"`
	TotalSteps      uint32  `json:"total_steps"`
	TrainLoss       float64 `json:"train_loss"`
	LearningRate    float64 `json:"learning_rate"`
	GradNorm        float64 `json:"grad_norm"`
	Epoch           float64 `json:"epoch"`
	Tokens          int64   `json:"tokens"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	ETASeconds      float64 `json:"eta_seconds"`
}

// EvaluationData are the numbers of an evaluation.
type EvaluationData struct {
	Step      uint32  `json:"step"`
	ValidLoss float64 `json:"valid_loss"`
	BaseLoss  float64 `json:"base_loss"`
	BestLoss  float64 `json:"best_loss"`
	BestStep  uint32  `json:"best_step"`
	Rows      uint32  `json:"rows"`
}

// Statuses of jobs.
const (
	StatusValidatingFiles = "validating_files"
	StatusQueued          = "queued"
	StatusRunning         = "running"
	StatusPaused          = "paused"
	StatusSucceeded       = "succeeded"
	StatusFailed          = "failed"
	StatusCancelled       = "cancelled"
)

// JobStatus is the status that stands for a state. A job that is being cancelled counts as cancelled, since nothing else
// can become of it; its finished_at tells when its worker has let go.
func JobStatus(state string) string {
	switch job.State(state) {
	case job.StateReceived, job.StateValidating, job.StateTokenizing:
		return StatusValidatingFiles
	case job.StateQueued:
		return StatusQueued
	case job.StateTraining, job.StatePublishing:
		return StatusRunning
	case job.StatePaused:
		return StatusPaused
	case job.StateSucceeded:
		return StatusSucceeded
	case job.StateCancelling, job.StateCancelled:
		return StatusCancelled
	}
	return StatusFailed
}

// NewFineTuningJob shows a job.
func NewFineTuningJob(view *pb.JobView) (*FineTuningJob, error) {
	spec, err := job.ParseSpecObject(view.GetSpec().AsMap())
	if err != nil {
		return nil, job.BugError("read the job's spec", err)
	}
	hyper := hyperparameters(spec.Training)
	one := &FineTuningJob{
		ID: view.GetId(), Object: "fine_tuning.job", CreatedAt: view.GetCreatedAt().GetSeconds(), Model: spec.Model,
		Hyperparameters: hyper, Method: Method{Type: "supervised", Supervised: Supervised{hyper}}, OrganizationID: "descant",
		ResultFiles: []string{}, Seed: spec.Training.Seed, Status: JobStatus(view.GetState()), TrainingFile: view.GetDataset(),
		Metadata: view.GetMetadata(),
		Descant:  JobDetails{State: view.GetState(), Name: view.GetName(), Training: spec.Training, Warnings: view.GetWarnings()},
	}
	if one.TrainingFile == "" { // a mixture, or rows of the request itself
		one.TrainingFile = spec.Dataset
	}
	if eval := view.GetEvalDataset(); eval != "" {
		one.ValidationFile = &eval
	}
	if one.Descant.Warnings == nil {
		one.Descant.Warnings = []string{}
	}
	if at := view.GetFinishedAt(); at != nil {
		seconds := at.GetSeconds()
		one.FinishedAt = &seconds
	}
	if ref := view.GetArtifacts().GetAdapterRef(); ref != "" {
		one.FineTunedModel = &ref
	}
	if one.Status == StatusFailed {
		one.Error = jobError(view.GetError())
	}
	one.progress(view)
	return one, nil
}

func (j *FineTuningJob) progress(view *pb.JobView) {
	if step := view.GetProgress(); step != nil {
		j.Descant.Progress = progressOf(step)
		if trained := step.GetTrainedTokens(); j.Status == StatusSucceeded {
			j.TrainedTokens = &trained
		}
		if j.Status == StatusRunning && step.GetEta() > 0 {
			end := view.GetUpdatedAt().GetSeconds() + int64(math.Ceil(step.GetEta()))
			j.EstimatedFinish = &end
		}
	}
	if e := view.GetEvaluation(); e != nil {
		j.Descant.Evaluation = evaluationOf(e)
	}
}

func progressOf(step *pb.Step) *Progress {
	return &Progress{Step: step.GetStep(), TotalSteps: step.GetTotal(), TrainLoss: step.GetLoss(), LearningRate: step.GetLr(), GradNorm: step.GetGradNorm(),
		Epoch: step.GetEpoch(), Tokens: step.GetTokens(), TokensPerSecond: step.GetTokensPerSecond(), ETASeconds: step.GetEta()}
}

func evaluationOf(e *pb.Evaluation) *EvaluationData {
	return &EvaluationData{Step: e.GetStep(), ValidLoss: e.GetLoss(), BaseLoss: e.GetBaseLoss(), BestLoss: e.GetBestLoss(), BestStep: e.GetBestStep(), Rows: e.GetRows()}
}

// hyperparameters says in the API's words what a training does.
func hyperparameters(t job.Training) Hyperparameters {
	h := Hyperparameters{NEpochs: "auto", BatchSize: t.PerDeviceTrainBatchSize * t.GradientAccumulationSteps,
		LearningRateMultiplier: t.LearningRate / job.DefaultTraining().LearningRate}
	if t.MaxSteps == 0 && t.NumTrainEpochs == math.Trunc(t.NumTrainEpochs) {
		h.NEpochs = int(t.NumTrainEpochs)
	}
	return h
}

func jobError(e *pb.Error) *JobError {
	if e == nil {
		return nil
	}
	failed := &JobError{Code: e.GetCode(), Message: job.FromProto(e).Error()}
	var param string
	switch job.Code(e.GetCode()) {
	case job.CodeBadDataset, job.CodeDatasetMissing:
		param = "training_file"
	case job.CodeBadModel, job.CodeModelMissing:
		param = "model"
	default:
		return failed
	}
	failed.Param = &param
	return failed
}

// ReadFineTuningJob turns the body of POST /v1/fine_tuning/jobs into a request as finetune.request takes it, whose every
// field may stand in the body, too, beside those of the API.
func ReadFineTuningJob(data []byte) ([]byte, error) {
	o, err := ReadObject(data)
	if err != nil {
		return nil, err
	}
	request := map[string]json.RawMessage{}
	move := func(from, to string) {
		raw := o.Raw(from)
		if raw == nil {
			return
		}
		if o.Has(to) {
			o.Problem(from, CodeInvalidValue, fmt.Sprintf("stands beside %s, which is the same: give one of the two", to))
		}
		request[to] = raw
	}
	move("training_file", "dataset")
	move("validation_file", "eval_dataset")
	move("suffix", "name")
	o.Only("integrations", "jobs report through their events, and to TensorBoard with report_to", "[]")
	readHyperparameters(o, o.Object("hyperparameters"), request)
	if raw := o.Raw("method"); len(raw) > 0 && raw[0] == '{' {
		readMethod(o, &Object{path: "method.", problems: o.problems, code: o.code}, raw, request)
	} else if raw != nil {
		request["method"] = raw // lora or full
	}
	if err := o.Err(); err != nil {
		return nil, err
	}
	for name, raw := range o.Rest() {
		request[name] = raw
	}
	return json.Marshal(request)
}

// readMethod reads OpenAI's method, of which supervised is the one there is.
func readMethod(outer, o *Object, raw json.RawMessage, request map[string]json.RawMessage) {
	if err := o.read(raw); err != nil {
		outer.Problem("method", CodeInvalidValue, "must be an object: "+err.Error())
		return
	}
	o.Only("type", "only supervised fine-tuning is there", `"supervised"`)
	o.Only("dpo", "only supervised fine-tuning is there")
	o.Only("reinforcement", "only supervised fine-tuning is there")
	if supervised := o.Object("supervised"); supervised != nil {
		readHyperparameters(outer, supervised.Object("hyperparameters"), request)
		supervised.Close()
	}
	o.Close()
}

// readHyperparameters maps the three of the API onto ours. "auto" leaves our default.
func readHyperparameters(outer, h *Object, request map[string]json.RawMessage) {
	if h == nil {
		return
	}
	number := func(name string, ours ...string) (float64, bool) {
		raw := h.Raw(name)
		if raw == nil || bytes.Equal(raw, []byte(`"auto"`)) {
			return 0, false
		}
		var x float64
		if err := json.Unmarshal(raw, &x); err != nil || x <= 0 {
			h.Problem(name, CodeInvalidValue, fmt.Sprintf(`must be a number above 0 or "auto" (found %s)`, shorten(raw)))
			return 0, false
		}
		for _, other := range ours {
			if outer.Has(other) || request[other] != nil {
				h.Problem(name, CodeInvalidValue, "stands beside "+other+", which says the same: give one of the two")
				return 0, false
			}
		}
		return x, true
	}
	whole := func(name string, x float64) bool {
		if x != math.Trunc(x) || x > 1e6 {
			h.Problem(name, CodeInvalidValue, "must be a whole number")
			return false
		}
		return true
	}
	if x, ok := number("n_epochs", "num_train_epochs", "max_steps"); ok && whole("n_epochs", x) {
		request["num_train_epochs"] = mustJSON(x)
	}
	if x, ok := number("batch_size", "gradient_accumulation_steps", "per_device_train_batch_size"); ok && whole("batch_size", x) {
		request["per_device_train_batch_size"], request["gradient_accumulation_steps"] = mustJSON(1), mustJSON(x)
	}
	if x, ok := number("learning_rate_multiplier", "learning_rate"); ok {
		request["learning_rate"] = mustJSON(x * job.DefaultTraining().LearningRate)
	}
	h.Close()
}

func mustJSON(x float64) json.RawMessage {
	data, err := json.Marshal(x)
	if err != nil {
		panic(fmt.Sprintf("openai: %v cannot be written as JSON", x)) // it was read from JSON
	}
	return data
}

// JobRequestError names the fields of a refused request as the API does.
func JobRequestError(err error) error {
	e := *AsError(err)
	e.Problems = append([]Problem(nil), e.Problems...)
	for i := range e.Problems {
		e.Problems[i].Param = apiField(e.Problems[i].Param)
	}
	if e.Param != nil {
		param := apiField(*e.Param)
		e.Param = &param
	} else if e.Code != nil && *e.Code == string(job.CodeDatasetMissing) {
		param := "training_file"
		e.Param = &param
	}
	return &e
}

func apiField(ours string) string {
	switch ours {
	case "dataset":
		return "training_file"
	case "eval_dataset":
		return "validation_file"
	case "name":
		return "suffix"
	}
	return ours
}
