// Package stage is one worker's attempt at a stage of a job: take the job over, keep its lease alive,
// notice what a person or another worker does with it, and record how it ended. What the stage does
// is the caller's.
//
//	work message ─► take over ─► do(ctx, attempt) ─┬─ nil ───────────► the caller has moved the job on
//	                   │                           ├─ user error ────► failed
//	                   └─ not ours: dropped        ├─ infrastructure ► again later, costs no attempt
//	                                               ├─ anything else ─► again, failed after job.MaxAttempts
//	                                               └─ ctx ended by ErrCancelled ► cancelled
//	                                                                  ErrPaused ──► stays paused
//	                                                                  ErrStopping ► handed to another worker
//
// A worker is alive while its loop gives signs of life: a loop that hangs loses its lease, and the
// job goes to another worker.
package stage
