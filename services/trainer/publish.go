package trainer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/stage"
	"descant/pkg/train"
)

// publish checks the result, stores it in the registry and ends the job.
func (s *Service) publish(ctx context.Context, a *stage.Attempt, run prepared, result *train.Result, progress *pb.Step) error {
	dir := result.AdapterDir
	if a.Spec.Training.Method == job.MethodFull {
		dir = result.ModelDir
	}
	if err := check(dir, a.Spec.Training.Method); err != nil {
		return err
	}
	if a.Spec.Training.Method == job.MethodLora && result.MaxLogitDiff == 0 {
		return job.UserError(job.CodeSelfCheck, "the adapter changes no answer: its logits equal the base's", "raise learning_rate or max_steps")
	}
	if err := s.writeCard(a, dir, progress, result.Evaluation); err != nil {
		return err
	}
	if err := a.Move(ctx, job.StatePublishing, "checked, now being published", func(j *pb.Job) {
		j.Progress = progress
		if result.Evaluation != nil {
			j.Evaluation = evaluationMessage(*result.Evaluation)
		}
		// An attempt that broke off while it published has left the same warning.
		if warning := evalWarning(result.Evaluation); warning != "" && !slices.Contains(j.Warnings, warning) {
			j.Warnings = append(j.Warnings, warning)
		}
	}); err != nil {
		return err
	}
	manifest, err := s.manifest(a, run, result, progress)
	if err != nil {
		return err
	}
	if err := s.writeReport(ctx, a, dir, run, result, manifest); err != nil {
		return err
	}
	done, err := s.deps.Registry.Publish(ctx, dir, manifest)
	if err != nil {
		return err
	}
	return s.succeed(ctx, a, done, progress)
}

// succeed records the publication.
func (s *Service) succeed(ctx context.Context, a *stage.Attempt, done registry.Resolved, progress *pb.Step) error {
	if job.State(a.Job().GetState()) != job.StatePublishing {
		for _, state := range []job.State{job.StateTraining, job.StatePublishing} {
			if err := a.Move(ctx, state, "published before, not yet recorded", nil); err != nil {
				return err
			}
		}
	}
	a.Log().Info("adapter published", "adapter", done.Pinned(), "digest", done.Version.GetDigest())
	err := a.Move(ctx, job.StateSucceeded, "published "+done.Pinned(), func(j *pb.Job) {
		if j.Artifacts == nil {
			j.Artifacts = &pb.Artifacts{}
		}
		j.Artifacts.AdapterDigest, j.Artifacts.AdapterRef = done.Version.GetDigest(), done.Pinned()
		j.Progress = progress
		j.Error = nil
	})
	if err == nil {
		s.checkpoints(a).prune(context.WithoutCancel(ctx), 1) // also when this worker is stopping
	}
	return err
}

// manifest tells where the adapter comes from.
func (s *Service) manifest(a *stage.Attempt, run prepared, result *train.Result, progress *pb.Step) (*pb.AdapterManifest, error) {
	spec, err := bus.Object(a.Spec.Canonical())
	if err != nil {
		return nil, job.BugError("write manifest", err)
	}
	artifacts := a.Job().GetArtifacts()
	metrics := map[string]float64{
		"steps": float64(result.Steps), "final_loss": result.FinalLoss, "tokens": float64(result.Tokens),
		"trained_tokens": float64(result.TrainedTokens), "rows": float64(artifacts.GetRows()),
		"seconds": result.Seconds, "tokens_per_second": result.TokensPerSecond,
		"trained_parameters": float64(result.TrainedParameters), "max_logit_diff": result.MaxLogitDiff,
	}
	evalMetrics(metrics, result.Evaluation)
	return &pb.AdapterManifest{
		Name: a.Spec.Name, Base: a.Spec.Model, BaseDigest: run.base.Digest,
		TokenizerDigest: artifacts.GetFiles()["tokenizer"], TemplateDigest: artifacts.GetFiles()["template"],
		DatasetDigest: artifacts.GetDatasetDigest(), TokenizedDigest: artifacts.GetTokenizedDigest(),
		EvalDatasetDigest: artifacts.GetEvalDatasetDigest(), EvalTokenizedDigest: artifacts.GetEvalTokenizedDigest(),
		Job: a.ID(), Spec: spec, Parent: a.Spec.Training.InitFrom, ParentCheckpoint: run.resume.digest, Trainer: "descant " + s.deps.Version, CreatedAt: bus.Timestamp(time.Now()), Progress: progress,
		SpecDigest: a.Spec.Digest(), Device: s.deps.Device.Kind(), Dtype: result.DType,
		Metrics: metrics, Probe: probe(result),
	}, nil
}

// probe is by what workers prove that they have loaded the adapter.
func probe(result *train.Result) *pb.Probe {
	if result.Probe == nil { // a model that was trained as a whole
		return nil
	}
	p := result.Probe
	return &pb.Probe{Prompt: p.Prompt, Ids: p.IDs, Logits: p.Logits, BaseLogits: p.Base, Dtype: result.DType}
}

// writeCard writes the model card of an adapter that has none.
func (s *Service) writeCard(a *stage.Attempt, dir string, progress *pb.Step, evaluation *train.Evaluation) error {
	path := filepath.Join(dir, "README.md")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	t := a.Spec.Training
	var b strings.Builder
	fmt.Fprintf(&b, "---\nbase_model: %s\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- descant\n---\n\n", a.Spec.Model)
	fmt.Fprintf(&b, "# %s\n\nTrained by descant %s as job `%s`.\n\n", a.Spec.Name, s.deps.Version, a.ID())
	fmt.Fprintf(&b, "| | |\n|---|---|\n| base | %s |\n| dataset | %s (%d rows) |\n", a.Spec.Model, a.Spec.Dataset, a.Job().GetArtifacts().GetRows())
	if t.Method == job.MethodLora {
		fmt.Fprintf(&b, "| LoRA | r %d, lora_alpha %g, on %s |\n", t.R, t.LoraAlpha, t.TargetModules)
	}
	fmt.Fprintf(&b, "| learning rate | %g, %s |\n| loss on | %s |\n| seed | %d |\n", t.LearningRate, t.LRSchedulerType, t.LossOn, t.Seed)
	if progress != nil {
		fmt.Fprintf(&b, "| steps | %d |\n| last loss | %.4f |\n", progress.GetStep(), progress.GetLoss())
	}
	if e := evaluation; e != nil {
		fmt.Fprintf(&b, "| loss on %d rows for evaluation | %.4f after step %d, %.4f for the base |\n", e.Rows, e.Loss, e.Step, e.Base)
	}
	b.WriteString("\nIt answers in the way of its training rows and knows nothing beyond its base and them. Check its answers before you rely on them.\n")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return job.InfrastructureError(job.CodeStore, "write model card", err)
	}
	return nil
}
