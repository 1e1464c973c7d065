package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"descant/pkg/dataset"
	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/train"
	"descant/scripts/tinybase/world"
)

// training is a phase of the recipe as hyper-parameters of descant's full-parameter mode.
func (p phase) training() job.Training {
	t := job.DefaultTraining()
	t.Method = job.MethodFull
	t.LearningRate, t.AdamBeta2, t.WeightDecay, t.WarmupSteps = p.rate, recipe.beta2, p.decay, p.warmup
	t.MaxSteps, t.PerDeviceTrainBatchSize, t.GradientAccumulationSteps = p.steps, recipe.microBatch, recipe.batch/recipe.microBatch
	t.MaxLength, t.LossOn, t.Seed = recipe.maxLength, job.LossOnCompletion, int64(p.seed)
	t.LoggingSteps, t.SaveSteps, t.DType = 100, 650, job.DTypeF32
	return t
}

// trainBase runs the phases one after the other (or the one that is asked for) on the weights in o.out and puts
// the result in their place.
func trainBase(ctx context.Context, o options) error {
	if o.phase < 0 || o.phase > len(recipe.phases) {
		return fmt.Errorf("there is no phase %d; choose 1 to %d, or 0 for all", o.phase, len(recipe.phases))
	}
	if o.work == "" {
		dir, err := os.MkdirTemp("", "tinybase-")
		if err != nil {
			return fmt.Errorf("make the work folder: %w", err)
		}
		defer os.RemoveAll(dir)
		o.work = dir
	}
	dev, err := device.Open(o.device)
	if err != nil {
		return err
	}
	defer dev.Close()
	for i, p := range recipe.phases {
		if o.phase != 0 && o.phase != i+1 {
			continue
		}
		if err := p.run(ctx, dev, o.out, filepath.Join(o.work, fmt.Sprintf("phase-%d", i+1))); err != nil {
			return fmt.Errorf("phase %d: %w", i+1, err)
		}
	}
	return nil
}

// run trains the weights in dir.
func (p phase) run(ctx context.Context, dev *device.Device, dir, work string) error {
	shards, err := p.tokenise(ctx, dir, filepath.Join(work, "shards"))
	if err != nil {
		return err
	}
	fmt.Printf("train: %d steps of %d rows on %s\n", p.steps, recipe.batch, dev.Name())
	started := time.Now()
	var sum float64
	var count int
	result, err := train.Run(ctx, train.Config{
		Device: dev, BaseDir: dir, Training: p.training(), Rows: shards, Dir: filepath.Join(work, "run"),
		OnStep: func(s train.Step) {
			sum, count = sum+s.Loss, count+1
			if s.Step%100 == 0 || s.Step == 10 || s.Step == s.Total {
				fmt.Printf("train: step %d of %d, loss %.4f, %.0f tokens/s, %s left\n", s.Step, s.Total, sum/float64(count), s.TokensPerSecond, s.ETA.Round(time.Second))
				sum, count = 0, 0
			}
		},
	})
	if err != nil {
		return err
	}
	fmt.Printf("train: %d tokens in %s\n", result.Tokens, time.Since(started).Round(time.Second))
	return replaceFile(filepath.Join(result.ModelDir, "model.safetensors"), filepath.Join(dir, "model.safetensors"))
}

// tokenise writes the training rows into shards, through the same reader and template as anybody's rows.
func (p phase) tokenise(ctx context.Context, base, dir string) (*dataset.Shards, error) {
	encode, err := loadDialogue(base)
	if err != nil {
		return nil, err
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(p.writeRows(writer)) }()
	defer reader.Close() // ends the writer when tokenising stops early
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the shards: %w", err)
	}
	rows := dataset.NewReader(reader, "world.jsonl", dataset.ReadOptions{})
	result, err := dataset.Tokenise(ctx, rows, encode.row, dir, dataset.TokeniseOptions{
		LossOn: dataset.LossCompletion, MaxLength: recipe.maxLength, Truncation: dataset.Drop,
	})
	if err != nil {
		return nil, err
	}
	fmt.Printf("text: %d rows, %d tokens, %d of them answers\n", result.Rows, result.Tokens, result.TrainedTokens)
	var paths []string
	for _, name := range result.Shards {
		paths = append(paths, filepath.Join(dir, name))
	}
	return dataset.OpenShards(paths)
}

// writeRows writes training rows in alpaca form.
func (p phase) writeRows(out io.Writer) error {
	g := world.New(p.seed)
	encoder := json.NewEncoder(out)
	for range p.rows {
		row := g.Train(p.shares)
		if err := encoder.Encode(map[string]string{"instruction": row.Question, "output": row.Answer}); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile copies source over target by a rename, since the work folder may be on another disk.
func replaceFile(source, target string) error {
	data, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("read the trained weights: %w", err)
	}
	temporary := target + ".new"
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		return errors.Join(fmt.Errorf("write the trained weights: %w", err), os.Remove(temporary))
	}
	return os.Rename(temporary, target)
}
