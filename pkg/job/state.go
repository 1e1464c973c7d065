package job

import "slices"

// State is where a job stands. The package comment draws the transitions.
type State string

// The states of a job.
const (
	StateReceived   State = "received"
	StateValidating State = "validating"
	StateTokenizing State = "tokenizing"
	StateQueued     State = "queued"
	StateTraining   State = "training"
	StatePublishing State = "publishing"
	StateSucceeded  State = "succeeded"
	StateFailed     State = "failed"
	StateCancelling State = "cancelling"
	StateCancelled  State = "cancelled"
	StatePaused     State = "paused"
)

// transitions lists where each state may go. A state is not in its own list: writing the same state
// again is not a transition. failed and cancelled go to received when the request is sent again.
var transitions = map[State][]State{
	StateReceived:   {StateValidating, StateCancelling, StateCancelled, StateFailed},
	StateValidating: {StateTokenizing, StateQueued, StateCancelling, StateCancelled, StateFailed},
	StateTokenizing: {StateQueued, StateCancelling, StateCancelled, StateFailed},
	StateQueued:     {StateTraining, StatePaused, StateCancelling, StateCancelled, StateFailed},
	StateTraining:   {StatePublishing, StateQueued, StatePaused, StateCancelling, StateCancelled, StateFailed},
	StatePublishing: {StateSucceeded, StateTraining, StateQueued, StateFailed},
	StateCancelling: {StateCancelled, StateFailed},
	StatePaused:     {StateQueued, StateCancelling, StateCancelled, StateFailed},
	StateFailed:     {StateReceived},
	StateCancelled:  {StateReceived},
	StateSucceeded:  {},
}

// States lists every state in the order of a job's life.
func States() []State {
	return []State{
		StateReceived, StateValidating, StateTokenizing, StateQueued, StateTraining, StatePublishing,
		StateSucceeded, StateFailed, StateCancelling, StateCancelled, StatePaused,
	}
}

// CanGo reports whether a job in state s may go to state to.
func (s State) CanGo(to State) bool { return slices.Contains(transitions[s], to) }

// Final reports whether nothing more happens to a job in this state by itself.
func (s State) Final() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCancelled
}

// Stage is a kind of work that a worker takes from the queue.
type Stage string

// The stages of work.
const (
	StageTokenize Stage = "tokenize"
	StageTrain    Stage = "train"
)

// Stage returns the work that carries a job in this state on, or "" when the state waits for a
// person or is final.
func (s State) Stage() Stage {
	switch s {
	case StateReceived, StateValidating, StateTokenizing:
		return StageTokenize
	case StateQueued, StateTraining, StatePublishing:
		return StageTrain
	}
	return ""
}
