package lifecycle

import "context"

type workingKey struct{}

// WithWorking returns a copy of take that carries work, the context for what
// is already running.
//
//	take  ends → take no new work, hand back what can be handed back
//	work  ends → the grace is over, leave now
func WithWorking(take, work context.Context) context.Context {
	return context.WithValue(take, workingKey{}, work)
}

// Working returns the context for running work: the one of [WithWorking], with
// the values of ctx, or ctx itself where there is none. A service gets one ctx
// (stop taking work) and runs its work under Working(ctx) (cancel work).
func Working(ctx context.Context) context.Context {
	work, ok := ctx.Value(workingKey{}).(context.Context)
	if !ok {
		return ctx
	}
	return work
}
