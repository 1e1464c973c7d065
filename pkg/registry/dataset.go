package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"descant/pkg/blob"
	"descant/pkg/job"
)

// Dataset is a pushed dataset: a file by its digest, and the name that stands for it now.
type Dataset struct {
	Name     string    `json:"name"`
	Digest   string    `json:"digest"`
	Size     int64     `json:"size"` // bytes
	Rows     int       `json:"rows"`
	File     string    `json:"file"` // name of the file that was pushed
	PushedAt time.Time `json:"pushed_at"`
}

const datasetPrefix = "datasets/"

// PushDataset stores a file under its digest and lets name stand for it. The caller has validated
// the rows and tells how many there are. A job pins the digest, so moving a name harms no job.
func (r *Registry) PushDataset(ctx context.Context, name, path, file string, rows int, now time.Time) (Dataset, error) {
	if p := job.NameProblem("name", name); p != nil {
		return Dataset{}, userProblem(job.CodeBadRequest, "dataset cannot be pushed", *p)
	}
	digest, size, err := r.objects.PutContentFile(ctx, path)
	if err != nil {
		return Dataset{}, storeError("store dataset "+name, err)
	}
	set := Dataset{Name: name, Digest: digest, Size: size, Rows: rows, File: file, PushedAt: now.UTC()}
	data, err := json.Marshal(set)
	if err != nil {
		return Dataset{}, job.BugError("write dataset entry", err)
	}
	if err := r.objects.Put(ctx, datasetKey(name), strings.NewReader(string(data)), int64(len(data))); err != nil {
		return Dataset{}, storeError("name dataset "+name, err)
	}
	return set, nil
}

func datasetKey(name string) string { return datasetPrefix + name + ".json" }

// Dataset returns what a name stands for now; an unknown name is a user error with code
// dataset_not_found.
func (r *Registry) Dataset(ctx context.Context, name string) (Dataset, error) {
	var set Dataset
	if !job.ValidName(name) {
		return set, job.UserError(job.CodeDatasetMissing, fmt.Sprintf("dataset %q is neither a name, a sha256: digest, an s3:// key nor builtin:sample", name), "push the file with `descant datasets push FILE` and use the name that it prints")
	}
	data, err := r.objects.Read(ctx, datasetKey(name), 1<<20)
	if errors.Is(err, blob.ErrNotFound) {
		return set, r.unknownDataset(ctx, name)
	}
	if err != nil {
		return set, storeError("look up dataset "+name, err)
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return set, job.BugError("read dataset entry "+name, err)
	}
	return set, nil
}

func (r *Registry) unknownDataset(ctx context.Context, name string) error {
	next := "push the file with `descant datasets push FILE`, or use builtin:sample"
	if sets, err := r.Datasets(ctx); err == nil {
		names := make([]string, len(sets))
		for i, set := range sets {
			names[i] = set.Name
		}
		if near := job.Nearest(name, names); near != "" {
			next = fmt.Sprintf("did you mean %q?", near)
		}
	}
	return job.UserError(job.CodeDatasetMissing, fmt.Sprintf("there is no dataset %q", name), next)
}

// Datasets returns every named dataset, by name.
func (r *Registry) Datasets(ctx context.Context) ([]Dataset, error) {
	objects, err := r.objects.List(ctx, datasetPrefix)
	if err != nil {
		return nil, storeError("list datasets", err)
	}
	var sets []Dataset
	for _, object := range objects {
		name, ok := strings.CutSuffix(strings.TrimPrefix(object.Key, datasetPrefix), ".json")
		if !ok || !job.ValidName(name) {
			continue
		}
		set, err := r.Dataset(ctx, name)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// DeleteDataset takes a name away and returns what it stood for. The file stays where it is, by its digest: jobs that
// were made with it go on.
func (r *Registry) DeleteDataset(ctx context.Context, name string) (Dataset, error) {
	set, err := r.Dataset(ctx, name)
	if err != nil {
		return set, err
	}
	if err := r.objects.Delete(ctx, datasetKey(name)); err != nil {
		return set, storeError("delete dataset "+name, err)
	}
	return set, nil
}
