package job

import (
	"time"

	"descant/pkg/pb"
)

// Proto returns the error in the form in which it travels and is stored; nil stays nil.
func (e *Error) Proto() *pb.Error {
	if e == nil {
		return nil
	}
	wire := &pb.Error{Class: string(e.Class), Code: string(e.Code), Message: e.Message, NextStep: e.Next, RetryAfter: seconds(e.RetryAfter)}
	for _, p := range e.Problems {
		wire.Problems = append(wire.Problems, &pb.Problem{Field: p.Field, Line: uint32(p.Line), Message: p.Message(), NextStep: p.Next})
	}
	return wire
}

// FromProto returns the error that travelled; nil stays nil.
func FromProto(wire *pb.Error) *Error {
	if wire == nil {
		return nil
	}
	e := &Error{Class: Class(wire.GetClass()), Code: Code(wire.GetCode()), Message: wire.GetMessage(), Next: wire.GetNextStep(),
		RetryAfter: time.Duration(wire.GetRetryAfter()) * time.Second}
	for _, p := range wire.GetProblems() {
		e.Problems = append(e.Problems, Problem{Field: p.GetField(), Line: int(p.GetLine()), Reason: p.GetMessage(), Next: p.GetNextStep()})
	}
	return e
}

// seconds rounds up: whoever comes a moment early waits twice. Nothing is told of 0.
func seconds(d time.Duration) *uint32 {
	if d <= 0 {
		return nil
	}
	n := uint32((d + time.Second - 1) / time.Second)
	return &n
}
