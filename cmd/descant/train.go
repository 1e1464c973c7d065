package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
	"descant/pkg/report"
	"descant/pkg/train"
)

// privateDir is where a training keeps its state below the output folder until it is done.
const privateDir = ".descant"

// training is one `descant train`.
type training struct {
	app     *app
	flags   *requestFlags
	out     string         // absolute
	parent  *adapterSource // adapter to go on from, or nil
	started time.Time
	// instead, where it is set, gets the job in place of a trainer; when it is done the command ends with errInstead.
	instead func(ctx context.Context, s *system, id string) error
}

// errInstead says that a training was not run because something else was done with it.
var errInstead = errors.New("the job was not trained")

func (a *app) trainCommand() *cobra.Command {
	var outputDir string
	var flags *requestFlags
	cmd := a.command(&cobra.Command{
		Use: "train", Short: "Fine-tune a model here and now, into a folder",
		Long: `Fine-tune a model here and now: the services run in this process, and the adapter is written to the
output folder as PEFT writes it. Ctrl-C saves a checkpoint; the same command goes on from there.`,
		Example: `  descant train --output-dir out/
  descant train --model Qwen/Qwen2.5-0.5B-Instruct --dataset rows.jsonl --max-steps 50 --output-dir out/
  descant train --model_name_or_path builtin:tiny --dataset_path rows.jsonl --output_dir out/ --max_steps 20
  descant train --model ./my-base --target-modules q_proj,v_proj --r 16 --learning-rate 1e-4 --output-dir out/
  descant train --model builtin:tiny --dataset more.jsonl --init-from out/ --output-dir out2/`,
	}, "device log hub", func(ctx context.Context, _ []string) error {
		if err := flags.load(); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		out, err := filepath.Abs(outputDir)
		if err != nil {
			return err
		}
		t := &training{app: a, flags: flags, out: out, started: time.Now()}
		return t.run(ctx)
	})
	cmd.Flags().StringVar(&outputDir, "output-dir", "out", "folder for the adapter")
	var err error
	if flags, err = bindRequest(cmd); err != nil {
		panic(err) // the tags of job.Request are wrong, which every test would show
	}
	return cmd
}

// run checks everything that can be checked before a service starts, trains, and writes the result.
func (t *training) run(ctx context.Context) error {
	ctx, hurry, release := lifecycle.Signals(ctx)
	defer release()
	r := &t.flags.request
	if err := t.findParent(ctx); err != nil {
		return err
	}
	if err := t.flags.check(); err != nil {
		return err
	}
	rows, err := localSources(r)
	if err != nil {
		return err
	}
	if err := rows.check(); err != nil {
		return err
	}
	if r.Model, _, err = t.app.base(ctx, r.Model); err != nil {
		return err
	}
	if r.Name == "" {
		r.Name = "adapter"
	}
	dir := filepath.Join(t.out, privateDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("output folder: %w", err)
	}
	s, err := t.app.startPrivate(ctx, dir)
	if err != nil {
		return err
	}
	done, err := t.train(ctx, hurry, s, rows)
	if done != nil && err == nil {
		err = t.collect(context.WithoutCancel(ctx), s, done)
	}
	if err = joinClose(err, s); err != nil {
		if done != nil && done.GetCheckpoint() == "" {
			err = errors.Join(err, os.RemoveAll(dir)) // nothing in it could be used again
		}
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return t.report(done)
}

// train runs the services until the job has ended, and returns its record.
func (t *training) train(ctx context.Context, hurry <-chan struct{}, s *system, rows *sources) (*pb.Job, error) {
	kinds := []string{kindGateway, kindTokenizer}
	if t.instead == nil {
		kinds = append(kinds, kindTrainer)
	}
	services, err := s.services(kinds...)
	if err != nil {
		return nil, err
	}
	if t.instead == nil {
		// In a system of many workers the job would wait for another one; here is none.
		if err := train.CheckDevice(s.device, t.flags.request.Training); err != nil {
			return nil, job.UserError(job.CodeBadRequest, "dtype bf16 cannot be used here: "+err.Error(), "`make setup` installs XLA")
		}
	}
	err = rows.replace(func(path string) (string, error) {
		digest, _, err := s.objects.PutContentFile(ctx, path)
		return job.DigestRef(digest, filepath.Base(path)), err
	})
	if err != nil {
		return nil, err
	}
	if err := t.publishParent(ctx, s.registry); err != nil {
		return nil, err
	}
	request, err := t.flags.JSON()
	if err != nil {
		return nil, err
	}
	request, err = withName(request, t.flags.request.Name)
	if err != nil {
		return nil, err
	}
	show := t.app.newProgress()
	if t.flags.request.ReportTo == job.ReportToTensorBoard {
		if show, err = withBoard(show, t.out); err != nil {
			return nil, err
		}
	}
	var id string
	var done *pb.Job
	var replaced bool
	services = append(services, lifecycle.Service{Name: "command", Run: func(ctx context.Context) error {
		view, err := submit(ctx, s.bus, request, 30*time.Second)
		if err != nil {
			return err
		}
		id = view.GetId()
		if t.instead != nil {
			err := t.instead(ctx, s, id)
			replaced = err == nil
			return err
		}
		if at := view.GetProgress().GetStep(); at > 0 {
			show.note(fmt.Sprintf("going on after step %d of %d", at, view.GetProgress().GetTotal()))
		}
		done, err = follow(ctx, s.bus, id, view.GetEpoch(), show)
		return err
	}}, lifecycle.Service{Name: "signal", Run: func(ctx context.Context) error {
		<-ctx.Done()
		if done == nil && t.instead == nil && errors.Is(context.Cause(ctx), lifecycle.ErrStopping) && id != "" {
			show.note("stopping: saving a checkpoint (Ctrl-C again leaves at once)")
		}
		return nil
	}})
	err = s.serve(ctx, hurry, services)
	show.end()
	switch {
	case replaced:
		return nil, errInstead
	case done != nil:
		return done, outcome(done)
	case err != nil:
		return nil, explainService(err)
	}
	return nil, t.stopped(context.WithoutCancel(ctx), s, id)
}

// stopped says what was saved when a signal ended the training.
func (t *training) stopped(ctx context.Context, s *system, id string) error {
	if id == "" {
		return interrupted("stopped before the training began")
	}
	rec, err := s.bus.Job(ctx, id)
	if err != nil {
		return interrupted("stopped; the state of the training cannot be read: %w", err)
	}
	if rec.Job.GetCheckpoint() == "" {
		return interrupted("stopped before the first checkpoint; the same command starts again")
	}
	p := rec.Job.GetProgress()
	return interrupted("stopped after step %d of %d; a checkpoint is saved in %s.\nTo go on, run the same command again; to drop it, remove that folder",
		p.GetStep(), p.GetTotal(), filepath.Join(t.out, privateDir))
}

// collect copies the published adapter into the output folder.
func (t *training) collect(ctx context.Context, s *system, done *pb.Job) error {
	found, err := s.registry.Resolve(ctx, done.GetArtifacts().GetAdapterRef())
	if err != nil {
		return err
	}
	dir, err := s.registry.Fetch(ctx, found.Version, filepath.Join(t.out, privateDir, "adapters"))
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("copy the adapter: %w", err)
	}
	if err := dropBoards(t.out); err != nil {
		return err
	}
	for _, e := range entries {
		// The folder is on the same file system and is not used again: a rename is whole or not at all.
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(t.out, e.Name())); err != nil {
			return fmt.Errorf("copy the adapter: %w", err)
		}
	}
	return nil
}

// report says what was made and how to use it.
func (t *training) report(done *pb.Job) error {
	p := done.GetProgress()
	took := time.Since(t.started).Round(time.Second / 10)
	text, err := raw(done)
	if err != nil {
		return err
	}
	if t.app.json {
		fmt.Fprintf(t.app.out, `{"type":"result","output_dir":%q,"seconds":%.1f,"job":%s}`+"\n", t.out, took.Seconds(), text)
		return nil
	}
	for _, w := range done.GetWarnings() {
		fmt.Fprintln(t.app.err, "warning:", w)
	}
	what, flag := "adapter", "--adapter-dir"
	if t.flags.request.Method == job.MethodFull {
		what, flag = "model", "--model"
	}
	fmt.Fprintf(t.app.out, "%s written to %s: %d steps, %d tokens, last loss %.4f, %s\n", what, t.out, p.GetStep(), p.GetTokens(), p.GetLoss(), took)
	fmt.Fprintf(t.app.out, "look at it:  %s\n", filepath.Join(t.out, report.PageFile))
	fmt.Fprintf(t.app.out, "talk to it:  descant chat %s %s --prompt \"你好\"\n", flag, t.out)
	return nil
}
