package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/train"
)

// inOrder are the rows of a workload in its own order, so that step n trains what the peer's step n trains.
type inOrder [][]int32

func (r inOrder) Len() int { return len(r) }

func (r inOrder) Row(i int) (ids, labels []int32) { return r[i], r[i] }

func (r inOrder) Order(int64, int) []int {
	order := make([]int, len(r))
	for i := range order {
		order[i] = i
	}
	return order
}

// work trains a workload in this process and prints the outcome. Packed rows are packed again here, by the same rule.
func work(ctx context.Context, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var w workload
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	dev, err := device.Open(device.Auto)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "benchtrain-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := job.DefaultTraining()
	t.DType, t.MaxSteps, t.SaveSteps, t.WarmupRatio, t.GradientAccumulationSteps = w.DType, len(w.Steps), 0, 0, 1
	t.LRSchedulerType = job.SchedulerConstant
	t.MaxLength = width
	var rows inOrder
	for _, m := range w.Steps {
		t.PerDeviceTrainBatchSize, t.Packing = len(m.Rows), m.Packed
		rows = append(rows, m.Rows...)
	}
	if t.Packing {
		t.PerDeviceTrainBatchSize = 1
	}
	var out outcome
	var last time.Time
	tokens := int64(0)
	_, err = train.Run(ctx, train.Config{Device: dev, BaseDir: w.Model, Training: t, Rows: rows, Dir: dir, OnStep: func(s train.Step) {
		now := time.Now()
		if s.Step == 1 {
			out.FirstStepSeconds = float64(now.UnixMicro())/1e6 - w.Begun
		} else {
			out.Seconds += now.Sub(last).Seconds()
			out.Tokens += int(s.Tokens - tokens)
		}
		last, tokens = now, s.Tokens
		out.Losses = append(out.Losses, s.Loss)
		out.PeakBytes = float64(device.MemoryFacts().PeakRSS)
	}})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
