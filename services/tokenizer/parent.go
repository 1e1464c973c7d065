package tokenizer

import (
	"context"
	"fmt"

	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/registry"
)

// checkParent refuses an adapter of init_from that was made for another base, or that has another shape than the one which is
// asked for, by its settings alone: its weights are first fetched by the trainer.
func (s *Service) checkParent(ctx context.Context, base registry.Base, spec job.Spec) error {
	ref := spec.Training.InitFrom
	if ref == "" {
		return nil
	}
	found, err := s.deps.Registry.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	if got := found.Version.GetBaseDigest(); got != base.Digest {
		return job.UserError(job.CodeBadRequest, fmt.Sprintf("adapter %s was made for base %s with digest %s, this job trains on %s with %s",
			found.Pinned(), found.Version.GetBase(), got, spec.Model, base.Digest), "train on the base of the adapter")
	}
	data, err := s.deps.Registry.File(ctx, found.Version, lora.ConfigFile)
	if err != nil {
		return err
	}
	config, err := model.ReadConfig(base.Dir)
	if err != nil {
		return err // checkModel read it before
	}
	return checkShape(config, spec, data)
}

// checkShape compares the adapter that is asked for with the settings of the one to go on from.
func checkShape(config *model.Config, spec job.Spec, parent []byte) error {
	asked, err := lora.PlanTraining(config, spec.Training, spec.Model)
	if err != nil {
		return err
	}
	settings, err := lora.ParseConfig(parent)
	if err == nil {
		var plan *lora.Plan
		if plan, err = lora.NewPlan(config, settings); err == nil {
			return asked.SameShape(plan)
		}
	}
	return job.UserError(job.CodeBadRequest, "training cannot go on from adapter "+spec.Training.InitFrom+": "+err.Error(),
		"name a LoRA adapter of this base")
}
