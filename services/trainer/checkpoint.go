package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/stage"
)

// checkpointInfo is what the manifest of a checkpoint tells.
type checkpointInfo struct {
	Job  string `json:"job"`
	Step int    `json:"step"`
}

// store uploads a checkpoint and then has the record name it; the record is what counts. A job that
// a person has just paused still gets its checkpoint.
func (s *Service) store(ctx context.Context, a *stage.Attempt, step int, dir string, progress *pb.Step) error {
	// A checkpoint that is being stored is worth more than a quick end.
	ctx = context.WithoutCancel(ctx)
	prefix := fmt.Sprintf("checkpoints/%s/%08d-%08d", a.ID(), a.Job().GetEpoch(), step)
	if _, err := stage.PutFolder(ctx, s.deps.Objects, prefix, dir, checkpointInfo{Job: a.ID(), Step: step}); err != nil {
		return err
	}
	name := func() error {
		return a.Update(ctx, fmt.Sprintf("checkpoint at step %d", step), func(j *pb.Job) {
			j.Checkpoint = prefix
			j.Attempts = min(j.Attempts, 1) // the job got on: its attempts count from here
			j.Progress = progress
		})
	}
	err := name()
	if errors.Is(err, stage.ErrPaused) {
		err = name()
	}
	if err != nil {
		return err
	}
	s.prune(ctx, a, s.cfg.KeepCheckpoints)
	return nil
}

// resume brings the job's latest checkpoint into dir and returns its folder and step, or "" if there
// is none.
func (s *Service) resume(ctx context.Context, a *stage.Attempt, dir string) (string, int, error) {
	prefix := a.Job().GetCheckpoint()
	if prefix == "" {
		return "", 0, nil
	}
	folder, err := stage.GetFolder(ctx, s.deps.Objects, prefix)
	if errors.Is(err, blob.ErrNotFound) {
		return "", 0, a.Say(ctx, "warn", "the checkpoint is gone from the object store; training starts from the beginning")
	}
	if err != nil {
		return "", 0, err
	}
	var info checkpointInfo
	if err := json.Unmarshal(folder.Info, &info); err != nil {
		return "", 0, job.BugError("read checkpoint "+prefix, err)
	}
	into := filepath.Join(dir, "resume")
	_, err = folder.Fetch(ctx, s.deps.Objects, prefix, into)
	return into, info.Step, err
}

// prune deletes all but the newest checkpoints of a job. What stays by mistake costs only room.
func (s *Service) prune(ctx context.Context, a *stage.Attempt, keep int) {
	objects, err := s.deps.Objects.List(ctx, "checkpoints/"+a.ID()+"/")
	if err != nil {
		a.Log().Warn("old checkpoints stay", "error", err)
		return
	}
	byFolder := map[string][]string{}
	for _, object := range objects {
		if parts := strings.SplitN(object.Key, "/", 4); len(parts) == 4 {
			byFolder[parts[2]] = append(byFolder[parts[2]], object.Key)
		}
	}
	var folders []string
	for folder := range byFolder {
		folders = append(folders, folder)
	}
	slices.Sort(folders) // by epoch, then by step
	for _, folder := range folders[:max(len(folders)-keep, 0)] {
		for _, key := range byFolder[folder] {
			if err := s.deps.Objects.Delete(ctx, key); err != nil {
				a.Log().Warn("an old checkpoint stays", "key", key, "error", err)
				return
			}
		}
	}
}
