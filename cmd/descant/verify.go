package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/hub"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/stage"
	"descant/pkg/tokenizer"
)

// What is found of a digest.
const (
	digestOK      = "ok"
	digestDiffers = "differs"
	digestAbsent  = "not at hand"
)

// verdict is one digest of an adapter's lineage, derived anew.
type verdict struct {
	What   string `json:"what"`
	State  string `json:"state"`
	Want   string `json:"want"`
	Found  string `json:"found,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// verification is what `descant verify` reports.
type verification struct {
	Adapter string    `json:"adapter"`
	Digest  string    `json:"digest"`
	OK      bool      `json:"ok"` // nothing differs
	Checks  []verdict `json:"checks"`

	manifest *pb.AdapterManifest
}

func (a *app) verifyCommand() *cobra.Command {
	var retrain bool
	cmd := a.command(&cobra.Command{
		Use: "verify REF", Short: "Derive every digest of an adapter's lineage anew", Args: exactArgs(1),
		Long: `Derive every digest of an adapter's lineage anew: manifest, files, spec, parent, base, tokenizer, chat template, datasets
and tokenized rows. Each is ok, differs, or is not at hand (nothing is downloaded). The exit code is 1 if anything
differs. --retrain runs the job of the spec again, in this process and apart from everything, and compares the
bytes of the adapter; devices of another kind round otherwise.`,
		Example: "  descant verify my-adapter@3\n  descant verify my-adapter@3 --json\n  descant verify my-adapter@3 --retrain",
	}, "device log hub bus blob embedded", func(ctx context.Context, args []string) error {
		ctx, hurry, release := lifecycle.Signals(ctx)
		defer release()
		return a.withSystem(ctx, func(ctx context.Context, s *system) error { return a.verify(ctx, hurry, s, args[0], retrain) })
	})
	cmd.Flags().BoolVar(&retrain, "retrain", false, "train again and compare the adapter's bytes")
	return cmd
}

func (a *app) verify(ctx context.Context, hurry <-chan struct{}, s *system, ref string, retrain bool) error {
	work, err := os.MkdirTemp("", "descant-verify-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a private folder in the system's own temporary one
	found, err := s.registry.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	v := &verification{Adapter: found.Pinned(), Digest: found.Version.GetDigest()}
	if err := v.adapter(ctx, s, found, work); err != nil {
		return err
	}
	if v.manifest != nil {
		v.spec()
		v.parent(ctx, s)
		v.base(ctx, s)
		v.dataset(ctx, s, work)
		v.tokenized(ctx, s, work)
		if retrain {
			if err := a.retrain(ctx, hurry, s, v, work); err != nil {
				return err
			}
		}
	}
	v.OK = true
	for _, c := range v.Checks {
		v.OK = v.OK && c.State != digestDiffers
	}
	if err := a.print(v, func() {
		for _, c := range v.Checks {
			fmt.Fprintln(a.out, strings.TrimSpace(fmt.Sprintf("%-12s %-28s %s %s", c.State, c.What, c.Want, c.Reason)))
		}
	}); err != nil {
		return err
	}
	if !v.OK {
		return &exitError{code: exitFailed, told: true, err: fmt.Errorf("%s is not what its lineage says", v.Adapter)}
	}
	return nil
}

// compare notes what was derived. An error means that there is nothing to derive from.
func (v *verification) compare(what, want, found string, err error) {
	c := verdict{What: what, Want: want, Found: found, State: digestOK}
	switch {
	case want == "":
		c.State, c.Reason = digestAbsent, "the manifest does not say it"
	case errors.Is(err, blob.ErrDigest):
		c.State, c.Reason = digestDiffers, err.Error()
	case err != nil:
		c.State, c.Reason = digestAbsent, err.Error()
	case found != want:
		c.State, c.Reason = digestDiffers, "found "+found
	}
	v.Checks = append(v.Checks, c)
}

// adapter looks at the manifest and at the files that it names.
func (v *verification) adapter(ctx context.Context, s *system, found registry.Resolved, work string) error {
	data, err := s.objects.Read(ctx, found.Version.GetManifestKey(), 8<<20)
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	v.compare("manifest", found.Version.GetDigest(), blob.Digest(data), err)
	if v.Checks[0].State != digestOK {
		return nil // nothing that it says can be relied on
	}
	v.manifest = new(pb.AdapterManifest)
	if err := bus.FromJSON(data, v.manifest); err != nil {
		return fmt.Errorf("read manifest of %s: %w", v.Adapter, err)
	}
	for _, file := range v.manifest.GetFiles() {
		v.compare("file "+file.GetName(), file.GetDigest(), file.GetDigest(), s.objects.GetContentFile(ctx, file.GetDigest(), filepath.Join(work, "file")))
	}
	return nil
}

// parsedSpec reads the spec of the manifest.
func (v *verification) parsedSpec() (job.Spec, error) {
	if v.manifest.GetSpec() == nil {
		return job.Spec{}, errors.New("the adapter was not trained by a job")
	}
	return job.ParseSpecObject(v.manifest.GetSpec().AsMap())
}

func (v *verification) spec() {
	spec, err := v.parsedSpec()
	if err != nil {
		v.compare("spec", v.manifest.GetSpecDigest(), "", err)
		return
	}
	v.compare("spec", v.manifest.GetSpecDigest(), spec.Digest(), nil)
	v.compare("job", v.manifest.GetJob(), spec.ID(), nil)
}

// parent looks at the adapter that the training went on from.
func (v *verification) parent(ctx context.Context, s *system) {
	ref := v.manifest.GetParent()
	if ref == "" {
		return
	}
	_, want, _ := strings.Cut(ref, "@")
	found, err := s.registry.Resolve(ctx, ref)
	if err == nil {
		_, err = s.registry.Manifest(ctx, found.Version) // compared with its digest
	}
	v.compare("parent "+ref, want, found.Version.GetDigest(), err)
}

// base looks at the base where it is on this machine or in the object store, and at its tokenizer and template.
func (v *verification) base(ctx context.Context, s *system) {
	opts := s.hub
	opts.LocalDirs, opts.Offline = []string{"/"}, true
	base, err := hub.Resolve(ctx, v.manifest.GetBase(), opts)
	if err != nil {
		for what, want := range map[string]string{"base": v.manifest.GetBaseDigest(), "tokenizer": v.manifest.GetTokenizerDigest(), "template": v.manifest.GetTemplateDigest()} {
			v.compare(what, want, "", err)
		}
		return
	}
	v.compare("base", v.manifest.GetBaseDigest(), base.Digest, nil)
	t, err := tokenizer.Load(base.Dir)
	if err != nil {
		v.compare("tokenizer", v.manifest.GetTokenizerDigest(), "", err)
		return
	}
	defer t.Close()
	v.compare("tokenizer", v.manifest.GetTokenizerDigest(), t.Digest(), nil)
	v.compare("template", v.manifest.GetTemplateDigest(), t.TemplateDigest(), nil)
}

// dataset looks at every dataset that the spec pins.
func (v *verification) dataset(ctx context.Context, s *system, work string) {
	spec, err := v.parsedSpec()
	if err != nil {
		v.compare("dataset", v.manifest.GetDatasetDigest(), "", err)
		return
	}
	parts := spec.Parts()
	if spec.EvalDataset != nil {
		parts = append(slices.Clone(parts), *spec.EvalDataset)
	}
	for i, part := range parts {
		what := "dataset " + part.Name
		if i == len(spec.Parts()) {
			what = "eval_dataset " + part.Name
		}
		switch {
		case part.Dataset == dataset.SampleName:
			v.compare(what, part.Digest, blob.Digest(dataset.SampleBytes()), nil)
		case strings.HasPrefix(part.Digest, "sha256:"):
			v.compare(what, part.Digest, part.Digest, s.objects.GetContentFile(ctx, part.Digest, filepath.Join(work, "rows")))
		default:
			v.compare(what, part.Digest, "", errors.New("it was pinned by the tag of an object that others wrote"))
		}
	}
}

// tokenized looks at the shards that the job was trained and evaluated on, while the job is known.
func (v *verification) tokenized(ctx context.Context, s *system, work string) {
	rec, jobErr := s.bus.Job(ctx, v.manifest.GetJob())
	made := rec.Job.GetArtifacts()
	look := func(what, want, key string) {
		if jobErr != nil {
			v.compare(what, want, "", fmt.Errorf("the record of job %s: %w", v.manifest.GetJob(), jobErr))
			return
		}
		folder, err := stage.GetFolder(ctx, s.objects, key)
		if err == nil {
			_, err = folder.Fetch(ctx, s.objects, key, filepath.Join(work, "shards"))
		}
		v.compare(what, want, folder.Digest(), err)
	}
	look("tokenized rows", v.manifest.GetTokenizedDigest(), made.GetTokenizedKey())
	if want := v.manifest.GetEvalTokenizedDigest(); want != "" {
		look("tokenized eval rows", want, made.GetEvalTokenizedKey())
	}
}
