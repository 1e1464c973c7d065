package registry

import (
	"context"
	"errors"

	"descant/pkg/hub"
	"descant/pkg/job"
)

// Base is a base model whose files are on this machine.
type Base struct {
	// Ref is the reference that was resolved.
	Ref string
	// Dir holds the files: config.json, tokenizer.json, safetensors.
	Dir string
	// Digest is that of the snapshot, "sha256:<hex>".
	Digest string
}

// Bases brings base models onto this machine. Its errors are *job.Error: what a person can mend is a
// user error with code model_not_found or bad_model.
type Bases interface {
	Base(ctx context.Context, ref string) (Base, error)
}

// HubBases resolves bases by package hub.
type HubBases struct{ Options hub.Options }

// Base brings the model behind a reference onto this machine.
func (h HubBases) Base(ctx context.Context, ref string) (Base, error) {
	snapshot, err := hub.Resolve(ctx, ref, h.Options)
	if err != nil {
		return Base{}, baseError(ref, err)
	}
	return Base{Ref: ref, Dir: snapshot.Dir, Digest: snapshot.Digest}, nil
}

func baseError(ref string, err error) error {
	code := job.CodeBadModel
	var known *hub.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), !errors.As(err, &known):
		return job.AsError("fetch model "+ref, err)
	case errors.Is(err, hub.ErrUnavailable):
		return job.InfrastructureError(job.CodeHub, "fetch model", err)
	case errors.Is(err, hub.ErrNotFound):
		code = job.CodeModelMissing
	}
	message := "model " + ref + ": " + known.What
	if known.Err != nil {
		message += ": " + known.Err.Error()
	}
	return job.UserError(code, message, known.Next)
}
