package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/lora"
	"descant/pkg/pb"
)

// retrain runs the job of the manifest's spec again, in a system of its own, and compares the adapter's bytes.
func (a *app) retrain(ctx context.Context, hurry <-chan struct{}, s *system, v *verification, work string) error {
	want := ""
	for _, file := range v.manifest.GetFiles() {
		if file.GetName() == lora.WeightsFile {
			want = file.GetDigest()
		}
	}
	spec, err := v.parsedSpec()
	if err != nil {
		v.compare("retrained weights", want, "", err)
		return nil
	}
	own, err := a.startPrivate(ctx, filepath.Join(work, "private"))
	if err != nil {
		return err
	}
	if err := errors.Join(copyRows(ctx, s, own, spec, work), copyParent(ctx, s, own, spec, work)); err != nil {
		v.compare("retrained weights", want, "", err)
		return own.close()
	}
	done, err := a.runAgain(ctx, hurry, own, spec)
	if err != nil {
		return joinClose(err, own)
	}
	found, err := own.registry.Resolve(ctx, done.GetArtifacts().GetAdapterRef())
	if err != nil {
		return joinClose(err, own)
	}
	manifest, err := own.registry.Manifest(ctx, found.Version)
	if err != nil {
		return joinClose(err, own)
	}
	for _, file := range manifest.GetFiles() {
		if file.GetName() == lora.WeightsFile {
			v.compare("retrained weights", want, file.GetDigest(), nil)
		}
	}
	if last := &v.Checks[len(v.Checks)-1]; last.State == digestDiffers && manifest.GetDevice() != v.manifest.GetDevice() {
		last.Reason += fmt.Sprintf("; it was trained on %s, here on %s", v.manifest.GetDevice(), manifest.GetDevice())
	}
	return own.close()
}

// copyRows brings the datasets of a spec into another system.
func copyRows(ctx context.Context, from, to *system, spec job.Spec, work string) error {
	parts := spec.Parts()
	if spec.EvalDataset != nil {
		parts = append(slices.Clone(parts), *spec.EvalDataset)
	}
	for _, part := range parts {
		if part.Dataset == dataset.SampleName {
			continue
		}
		if !strings.HasPrefix(part.Digest, "sha256:") {
			return fmt.Errorf("dataset %s is an object that others wrote", part.Name)
		}
		path := filepath.Join(work, "rows")
		if err := from.objects.GetContentFile(ctx, part.Digest, path); err != nil {
			return err
		}
		var err error
		if job.ValidName(part.Name) { // of a mixture and of eval_dataset the spec keeps the name
			_, err = to.registry.PushDataset(ctx, part.Name, path, part.File(), 0, time.Now())
		} else {
			_, _, err = to.objects.PutContentFile(ctx, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyParent publishes the adapter that the job goes on from, which has the same digest everywhere.
func copyParent(ctx context.Context, from, to *system, spec job.Spec, work string) error {
	if spec.Training.InitFrom == "" {
		return nil
	}
	found, err := from.registry.Resolve(ctx, spec.Training.InitFrom)
	if err != nil {
		return err
	}
	manifest, err := from.registry.Manifest(ctx, found.Version)
	if err != nil {
		return err
	}
	dir, err := from.registry.Fetch(ctx, found.Version, filepath.Join(work, "parent"))
	if err != nil {
		return err
	}
	_, err = to.registry.Publish(ctx, dir, manifest)
	return err
}

// runAgain sends the request that gives the spec, and waits for the job's end.
func (a *app) runAgain(ctx context.Context, hurry <-chan struct{}, own *system, spec job.Spec) (*pb.Job, error) {
	request, err := specRequest(spec)
	if err != nil {
		return nil, err
	}
	services, err := own.services(kindGateway, kindTokenizer, kindTrainer)
	if err != nil {
		return nil, err
	}
	var show progress = &plainProgress{out: a.err} // stdout is the report's
	if terminal(a.err) {
		show = newBar(a.err)
	}
	var done *pb.Job
	services = append(services, lifecycle.Service{Name: "command", Run: func(ctx context.Context) error {
		view, err := submit(ctx, own.bus, request, 30*time.Second)
		if err != nil {
			return err
		}
		if view.GetId() != spec.ID() {
			return fmt.Errorf("the request makes job %s, the spec is of job %s: this version of descant decides otherwise", view.GetId(), spec.ID())
		}
		done, err = follow(ctx, own.bus, view.GetId(), view.GetEpoch(), show)
		return err
	}})
	err = explainService(own.serve(ctx, hurry, services))
	show.end()
	switch {
	case done != nil:
		return done, outcome(done)
	case err != nil:
		return nil, err
	}
	return nil, errors.Join(context.Cause(ctx), interrupted("stopped; nothing was compared"))
}

// specRequest is the request that a spec was made from, with everything given.
func specRequest(spec job.Spec) ([]byte, error) {
	request := job.Request{Model: spec.Model, Name: spec.Name, Training: spec.Training}
	if len(spec.Datasets) == 0 {
		request.Dataset = spec.Dataset
	}
	if spec.EvalDataset != nil {
		request.EvalDataset = spec.EvalDataset.Name
	}
	for _, part := range spec.Datasets {
		request.Datasets = append(request.Datasets, job.MixturePart{Name: part.Name, Weight: part.Weight})
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	// A field of a request is given or left out, never null.
	maps.DeleteFunc(all, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	return json.Marshal(all)
}
