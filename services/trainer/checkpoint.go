package trainer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/stage"
	"descant/pkg/train"
)

// checkpointInfo is what the manifest of a checkpoint tells.
type checkpointInfo struct {
	Job  string `json:"job"`
	Step int    `json:"step"`
}

// checkpoints are those of one attempt at a job in the object store: a folder each, whole once its manifest is there.
// The job's record names the one to go on from.
//
//	checkpoints/<job>/<epoch>-<step>/{adapter.safetensors,optimizer.safetensors,state.json,manifest.json}
type checkpoints struct {
	objects *blob.Store
	attempt *stage.Attempt
	keep    int
	digest  string          // what a checkpoint must belong to
	damaged map[string]bool // by prefix: those that cannot be used
	point   func(ctx context.Context, job, at string)
}

func (s *Service) checkpoints(a *stage.Attempt) *checkpoints {
	keep := a.Spec.Training.SaveTotalLimit
	if keep == 0 {
		keep = s.cfg.KeepCheckpoints
	}
	return &checkpoints{objects: s.deps.Objects, attempt: a, keep: keep, digest: runDigest(a), damaged: map[string]bool{}, point: s.point}
}

// runDigest stands for everything that decides the numbers of a training: the spec, the base and the rows as they were
// found here. A job that is sent again may find another base under the same name.
func runDigest(a *stage.Attempt) string {
	made := a.Job().GetArtifacts()
	parts := []string{a.Spec.Digest(), made.GetBaseDigest(), made.GetTokenizedDigest()}
	if eval := made.GetEvalTokenizedDigest(); eval != "" {
		parts = append(parts, eval)
	}
	return blob.Digest([]byte(strings.Join(parts, " ")))
}

// store uploads a checkpoint and then has the record name it; the record is what counts. A job that
// a person has just paused still gets its checkpoint. What was reported up to the checkpoint is stored before it is
// recorded, because the job may go on from there.
func (c *checkpoints) store(ctx context.Context, made train.Checkpoint, reports *reporter) error {
	// A checkpoint that is being stored is worth more than a quick end.
	ctx = context.WithoutCancel(ctx)
	a := c.attempt
	prefix := fmt.Sprintf("checkpoints/%s/%08d-%08d", a.ID(), a.Job().GetEpoch(), made.Step)
	folder, err := stage.PutFolder(ctx, c.objects, prefix, made.Dir, checkpointInfo{Job: a.ID(), Step: made.Step})
	if err != nil {
		return err
	}
	c.point(ctx, a.ID(), fmt.Sprintf("checkpoint %d stored", made.Step))
	if err := reports.flush(ctx); err != nil {
		return job.InfrastructureError(job.CodeBus, fmt.Sprintf("report the steps up to the checkpoint of step %d", made.Step), err)
	}
	name := func() error {
		return a.Update(ctx, fmt.Sprintf("checkpoint at step %d", made.Step), func(j *pb.Job) {
			j.Checkpoint = prefix
			j.CheckpointInfo = &pb.Checkpoint{Key: prefix, Step: uint32(made.Step), Time: bus.Timestamp(time.Now()), Digest: folder.Digest()}
			j.Attempts = min(j.Attempts, 1) // the job got on: its attempts count from here
			j.Progress = reports.progress()
			if evaluation := reports.lastEvaluation(); evaluation != nil {
				j.Evaluation = evaluation
			}
		})
	}
	err = name()
	if errors.Is(err, stage.ErrPaused) {
		err = name()
	}
	if err != nil {
		return err
	}
	c.point(ctx, a.ID(), fmt.Sprintf("checkpoint %d recorded", made.Step))
	c.prune(ctx, c.keep)
	// The object store has it now; a long job must not fill the disk of its worker.
	if err := os.RemoveAll(made.Dir); err != nil {
		a.Log().Warn("a stored checkpoint stays on this disk", "dir", made.Dir, "error", err)
	}
	return nil
}

// resumed is the checkpoint that an attempt goes on from.
type resumed struct {
	dir      string // empty when training starts from the beginning
	digest   string // of the checkpoint's files
	saved    train.Saved
	warnings []string // what a person should know about it
}

// resume brings the job's latest usable checkpoint into dir. One that is damaged, incomplete or of other settings is
// passed over for the one before.
func (c *checkpoints) resume(ctx context.Context, dir string) (r resumed, err error) {
	latest := c.attempt.Job().GetCheckpoint()
	if latest == "" {
		return r, nil
	}
	candidates := []string{latest}
	for n := 0; n < len(candidates); n++ {
		into := filepath.Join(dir, fmt.Sprintf("resume-%d", n))
		r.saved, r.digest, err = c.fetch(ctx, candidates[n], into)
		if err == nil {
			r.dir = into
			return r, nil
		}
		if !errors.Is(err, stage.ErrDamaged) {
			return r, err
		}
		c.damaged[candidates[n]] = true
		r.warnings = append(r.warnings, fmt.Sprintf("checkpoint %s cannot be used: %v", candidates[n], err))
		if n > 0 {
			continue
		}
		older, err := storedCheckpoints(ctx, c.objects, c.attempt.ID())
		if err != nil {
			return r, job.InfrastructureError(job.CodeStore, "list checkpoints", err)
		}
		for _, f := range older {
			if f.whole && f.prefix != latest {
				candidates = append(candidates, f.prefix)
			}
		}
	}
	r.warnings = append(r.warnings, "no checkpoint can be used, training starts from the beginning")
	r.saved, r.digest = train.Saved{}, ""
	return r, nil
}

// fetch brings one checkpoint here and tells the digest of its files; stage.ErrDamaged says that it cannot be used.
func (c *checkpoints) fetch(ctx context.Context, prefix, into string) (saved train.Saved, digest string, err error) {
	folder, err := stage.GetFolder(ctx, c.objects, prefix)
	if errors.Is(err, blob.ErrNotFound) {
		return saved, "", fmt.Errorf("%w: it is gone from the object store", stage.ErrDamaged)
	}
	if err != nil {
		return saved, "", err
	}
	var info checkpointInfo
	if err := json.Unmarshal(folder.Info, &info); err != nil {
		return saved, "", fmt.Errorf("%w: its manifest: %w", stage.ErrDamaged, err)
	}
	if info.Job != c.attempt.ID() {
		return saved, "", fmt.Errorf("%w: its manifest is of job %q", stage.ErrDamaged, info.Job)
	}
	if _, err := folder.Fetch(ctx, c.objects, prefix, into); err != nil {
		return saved, "", err
	}
	if saved, err = train.Inspect(into, c.digest); err != nil {
		return saved, "", fmt.Errorf("%w: %w", stage.ErrDamaged, err)
	}
	return saved, folder.Digest(), nil
}

// stored is a checkpoint folder in the object store.
type stored struct {
	prefix string
	keys   []string
	whole  bool // its manifest is there
}

// storedCheckpoints lists the checkpoints of a job that are in the object store, the newest first.
func storedCheckpoints(ctx context.Context, objects *blob.Store, id string) ([]stored, error) {
	list, err := objects.List(ctx, "checkpoints/"+id+"/")
	if err != nil {
		return nil, err
	}
	byPrefix := map[string]*stored{}
	for _, object := range list {
		parts := strings.SplitN(object.Key, "/", 4)
		if len(parts) != 4 {
			continue
		}
		prefix := strings.Join(parts[:3], "/")
		if byPrefix[prefix] == nil {
			byPrefix[prefix] = &stored{prefix: prefix}
		}
		f := byPrefix[prefix]
		f.keys = append(f.keys, object.Key)
		f.whole = f.whole || parts[3] == stage.FolderManifest
	}
	var folders []stored
	for _, f := range byPrefix {
		folders = append(folders, *f)
	}
	// The prefix tells epoch and step, in digits of equal number.
	slices.SortFunc(folders, func(a, b stored) int { return cmp.Compare(b.prefix, a.prefix) })
	return folders, nil
}

// prune deletes all but the newest whole checkpoints, and what uploads that were broken off have left. What stays by
// mistake costs only room.
func (c *checkpoints) prune(ctx context.Context, keep int) {
	log := c.attempt.Log()
	folders, err := storedCheckpoints(ctx, c.objects, c.attempt.ID())
	if err != nil {
		log.Warn("old checkpoints stay", "error", err)
		return
	}
	for _, f := range folders {
		if f.whole && !c.damaged[f.prefix] && keep > 0 {
			keep--
			continue
		}
		for _, key := range f.keys {
			if err := c.objects.Delete(ctx, key); err != nil {
				log.Warn("an old checkpoint stays", "key", key, "error", err)
				return
			}
		}
	}
}
