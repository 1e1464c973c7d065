package trainer

import (
	"context"
	"fmt"
	"path/filepath"

	"descant/pkg/job"
	"descant/pkg/stage"
)

// parent brings the adapter of init_from here and returns its folder, or "" where the job begins anew. The gateway has
// pinned it by digest, so that every attempt begins with the same numbers.
func (s *Service) parent(ctx context.Context, a *stage.Attempt, run prepared) (string, error) {
	ref := a.Spec.Training.InitFrom
	if ref == "" {
		return "", nil
	}
	found, err := s.deps.Registry.Resolve(ctx, ref)
	if err != nil {
		return "", err
	}
	if got := found.Version.GetBaseDigest(); got != run.base.Digest {
		return "", job.UserError(job.CodeBadRequest, fmt.Sprintf("adapter %s was made for base %s with digest %s, this job trains on %s with %s",
			found.Pinned(), found.Version.GetBase(), got, a.Spec.Model, run.base.Digest), "train on the base of the adapter")
	}
	return s.deps.Registry.Fetch(ctx, found.Version, filepath.Join(run.dir, "parent"))
}
