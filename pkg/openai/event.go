package openai

import (
	"fmt"
	"strconv"
	"strings"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// FineTuningEvent is something that happened to a job.
type FineTuningEvent struct {
	ID        string `json:"id"`
	Object    string `json:"object"` // fine_tuning.job.event
	CreatedAt int64  `json:"created_at"`
	Level     string `json:"level"` // info, warn or error
	Message   string `json:"message"`
	Type      string `json:"type"` // message or metrics
	// Data are the numbers of metrics, and the state that a message tells of.
	Data any `json:"data"`
}

// StateData is the data of a change of state.
type StateData struct {
	State  string `json:"state"`
	Status string `json:"status"`
}

const eventPrefix = "ftevent-"

// EventID names an event by its place among all.
func EventID(seq uint64) string { return eventPrefix + strconv.FormatUint(seq, 10) }

// ParseEventID returns the place of an event.
func ParseEventID(id string) (uint64, error) {
	seq, err := strconv.ParseUint(strings.TrimPrefix(id, eventPrefix), 10, 64)
	if err != nil || seq == 0 || EventID(seq) != id {
		return 0, Invalid("after", CodeInvalidValue, "%q is not the id of an event", id)
	}
	return seq, nil
}

// NewFineTuningEvent shows an event.
func NewFineTuningEvent(e *pb.Event) FineTuningEvent {
	out := FineTuningEvent{ID: EventID(e.GetSeq()), Object: "fine_tuning.job.event", CreatedAt: e.GetTime().GetSeconds(),
		Level: "info", Type: "message", Message: e.GetMessage()}
	switch e.GetType() {
	case bus.EventStep:
		step := e.GetStep()
		out.Type, out.Data = "metrics", progressOf(step)
		out.Message = fmt.Sprintf("Step %d/%d: training loss=%.4f", step.GetStep(), step.GetTotal(), step.GetLoss())
	case bus.EventEval:
		out.Type, out.Data = "metrics", evaluationOf(e.GetEvaluation())
		out.Message = fmt.Sprintf("Step %d: validation loss=%.4f", e.GetEvaluation().GetStep(), e.GetEvaluation().GetLoss())
	case bus.EventState:
		out.Data = StateData{State: e.GetState(), Status: JobStatus(e.GetState())}
		if out.Message == "" {
			out.Message = "The job is " + e.GetState()
		}
	}
	if e.GetLevel() == "warn" || e.GetLevel() == "error" {
		out.Level = e.GetLevel()
	}
	if why := e.GetError(); why != nil {
		out.Level = "error"
		if text := job.FromProto(why).Error(); text != out.Message {
			out.Message = strings.TrimPrefix(out.Message+": "+text, ": ")
		}
	}
	return out
}

// FineTuningCheckpoint is a state of the training that is stored.
type FineTuningCheckpoint struct {
	ID        string `json:"id"`
	Object    string `json:"object"` // fine_tuning.job.checkpoint
	CreatedAt int64  `json:"created_at"`
	// FineTunedModelCheckpoint is the model, of the last step of a job that succeeded; before that the key under which the
	// checkpoint lies in the object store. Training can go on from it, but it cannot be asked.
	FineTunedModelCheckpoint string            `json:"fine_tuned_model_checkpoint"`
	FineTuningJobID          string            `json:"fine_tuning_job_id"`
	StepNumber               int               `json:"step_number"`
	Metrics                  CheckpointMetrics `json:"metrics"`
}

// CheckpointMetrics are the numbers at a checkpoint, as far as they are known.
type CheckpointMetrics struct {
	Step      int      `json:"step"`
	TrainLoss *float64 `json:"train_loss,omitempty"`
	ValidLoss *float64 `json:"valid_loss,omitempty"`
}
