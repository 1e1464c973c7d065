package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/services/tokenizer"
)

// width is the most tokens of a row, and the size of a pack.
const width = 1024

// mixed is the number of rows in a step of the real mix of lengths.
const mixed = 4

// tokenised gives the rows of a dataset as token ids, in the order in which they are trained.
func tokenised(ctx context.Context, model, file string) ([][]int32, error) {
	dir, err := os.MkdirTemp("", "benchtrain-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if file == "" {
		file = filepath.Join(dir, "sample.jsonl")
		if err := os.WriteFile(file, dataset.SampleBytes(), 0o644); err != nil {
			return nil, err
		}
	}
	enc, err := tokenizer.OpenEncoder(model, model)
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	t := job.DefaultTraining()
	t.MaxLength = width
	made, err := enc.Tokenise(ctx, []tokenizer.Part{{Path: file, Name: file, Weight: 1}}, t, dir, tokenizer.TokeniseOptions(t))
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(made[0].Shards))
	for i, name := range made[0].Shards {
		paths[i] = filepath.Join(dir, name)
	}
	shards, err := dataset.OpenShards(paths)
	if err != nil {
		return nil, err
	}
	var rows [][]int32
	for _, i := range shards.Order(t.Seed, 0) {
		ids, _ := shards.Row(i)
		rows = append(rows, slices.Clone(ids))
	}
	return rows, nil
}

// steps lays rows out for a shape: about the given number of tokens after a first step. There is a step more than they
// take, and of the fixed shapes every row is cut out of the rows laid end to end.
func steps(rows [][]int32, shape string, tokens int) ([]micro, error) {
	switch shape {
	case "mix":
		var list []micro
		for part := range slices.Chunk(enough(rows, tokens), mixed) {
			if len(part) == mixed {
				list = append(list, micro{Rows: part})
			}
		}
		if len(list) < 2 {
			return nil, errors.New("mix: the dataset is too small")
		}
		return list, nil
	case "packed":
		return packed(enough(rows, tokens+width)), nil
	}
	var n, long int
	if _, err := fmt.Sscanf(shape, "%dx%d", &n, &long); err != nil || n < 1 || long < 2 || long > width {
		return nil, fmt.Errorf("shape %s: give ROWSxTOKENS with at most %d tokens, mix or packed", shape, width)
	}
	flat := slices.Concat(rows...)
	var list []micro
	for at := 0; len(list) < 2 || len(list)*n*long < tokens+n*long; {
		var m micro
		for range n {
			if at+long > len(flat) {
				at = 0
			}
			m.Rows = append(m.Rows, flat[at:at+long])
			at += long
		}
		list = append(list, m)
	}
	return list, nil
}

// enough are the first rows that hold so many tokens.
func enough(rows [][]int32, tokens int) [][]int32 {
	for i, row := range rows {
		if tokens -= len(row); tokens < 0 {
			return rows[:i+1]
		}
	}
	return rows
}

// packed packs rows by best-fit decreasing, as TRL's strategy "bfd" and descant do.
func packed(rows [][]int32) []micro {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b []int32) int { return cmp.Compare(len(b), len(a)) })
	var list []micro
	var room []int
	for _, row := range rows {
		best := -1
		for i, r := range room {
			if r >= len(row) && (best < 0 || r < room[best]) {
				best = i
			}
		}
		if best < 0 {
			list, room, best = append(list, micro{Packed: true}), append(room, width), len(list)
		}
		list[best].Rows = append(list[best].Rows, row)
		room[best] -= len(row)
	}
	return list
}
