package inference

import (
	"context"
	"fmt"
	"math"

	"descant/pkg/job"
	"descant/pkg/pb"
)

// How far a logit may be from what the trainer saw, as a part of the largest one: devices add in other
// orders, and bf16 has 8 bits of mantissa.
const (
	toleranceF32  = 2e-3
	toleranceBF16 = 5e-2
)

// prove runs the trainer's prompt with an adapter and compares the logits with those that the trainer
// saw. An adapter that was made elsewhere has none: there is nothing to compare. rounds says that base or adapters are held in bf16 here.
func prove(ctx context.Context, e engine, key, name string, probe *pb.Probe, rounds bool) error {
	if len(probe.GetPrompt()) == 0 {
		return nil
	}
	if n := len(probe.GetIds()); n == 0 || len(probe.GetLogits()) != n || len(probe.GetBaseLogits()) != n {
		return job.BugError("prove adapter "+name, fmt.Errorf("its manifest tells %d ids, %d logits and %d of the base", n, len(probe.GetLogits()), len(probe.GetBaseLogits())))
	}
	logits, err := e.Probe(ctx, key, probe.GetPrompt())
	if err != nil {
		return err
	}
	tolerance := toleranceF32
	if probe.GetDtype() != job.DTypeF32 || rounds {
		tolerance = toleranceBF16
	}
	largest, worst := 1.0, 0.0
	at := 0
	for i, id := range probe.GetIds() {
		if id < 0 || int(id) >= len(logits) {
			return job.BugError("prove adapter "+name, fmt.Errorf("its manifest tells a logit of id %d, the base has %d", id, len(logits)))
		}
		largest = max(largest, math.Abs(float64(probe.GetLogits()[i])))
		if off := math.Abs(float64(logits[id]) - float64(probe.GetLogits()[i])); !(off <= worst) { // also what is no number
			worst, at = off, i
		}
	}
	if allowed := tolerance * largest; !(worst <= allowed) {
		id := probe.GetIds()[at]
		return job.UserError(job.CodeSelfCheck, fmt.Sprintf("adapter %s is not what was trained: behind the trainer's prompt the logit of id %d is %g, the trainer saw %g (the bare base gave it %g); %g is allowed",
			name, id, logits[id], probe.GetLogits()[at], probe.GetBaseLogits()[at], allowed), "publish it again; if that does not help, this worker computes wrongly: `descant doctor` checks it")
	}
	return nil
}
