package bus

import "fmt"

// Subjects that people type.
const (
	SubjectRequest = "finetune.request"
	SubjectChat    = "inference.chat"
)

// Stages of the work subjects and dead letters.
const (
	StageIntake   = "intake"
	StageTokenize = "tokenize"
	StageTrain    = "train"
)

// Types of events: the last token of their subjects.
const (
	EventState    = "state"
	EventStep     = "step"
	EventEval     = "eval"
	EventLog      = "log"
	EventRejected = "rejected"
)

// WorkerSubject is where one inference worker takes chat requests.
func WorkerSubject(worker string) string { return "infer.worker." + worker }

// aliveSubject is where a worker tells that it lives, also while it ends.
func aliveSubject(worker string) string { return "infer.alive." + worker }

// EventsSubject matches all events of a job, or of all jobs for "*".
func EventsSubject(job string) string { return "finetune.events." + job + ".>" }

func stateSubject(job string) string         { return "finetune.state." + job }
func workSubject(stage, job string) string   { return "finetune.work." + stage + "." + job }
func eventSubject(job, typ string) string    { return "finetune.events." + job + "." + typ }
func deadSubject(stage, job string) string   { return "finetune.dead." + stage + "." + job }
func controlSubject(job string) string       { return "finetune.control." + job }
func metricSubject(service, i string) string { return "metrics." + service + "." + i }

// checkToken refuses what cannot be one token of a subject or a key.
func checkToken(what, token string) error {
	if token == "" || len(token) > 128 {
		return fmt.Errorf("%s %q must have 1 to 128 characters", what, token)
	}
	for _, r := range token {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
		if !ok {
			return fmt.Errorf("%s %q has %q; only letters, digits, - and _ can stand in a subject", what, token, r)
		}
	}
	return nil
}
