package trainer

import (
	"context"
	"path/filepath"

	"descant/pkg/stage"
)

// parent brings the adapter of init_from here and returns its folder, or "" where the job begins anew. The gateway has
// pinned it by digest, so that every attempt begins with the same numbers; the tokenizer has looked whether it fits.
func (s *Service) parent(ctx context.Context, a *stage.Attempt, run prepared) (string, error) {
	ref := a.Spec.Training.InitFrom
	if ref == "" {
		return "", nil
	}
	found, err := s.deps.Registry.Resolve(ctx, ref)
	if err != nil {
		return "", err
	}
	return s.deps.Registry.Fetch(ctx, found.Version, filepath.Join(run.dir, "parent"))
}
