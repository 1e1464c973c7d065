package tokenizer

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/dataset"
	"descant/pkg/job"
)

// shardFormat is part of every key: a change of how rows become ids raises it.
const shardFormat = "descant-shards-3"

// shardInput is everything that shards depend on; its digest is their key.
type shardInput struct {
	Format    string      `json:"format"`
	Parts     []shardPart `json:"parts"`
	Seed      int64       `json:"seed,omitempty"` // where it chooses rows by a weight
	Tokenizer string      `json:"tokenizer"`
	Template  string      `json:"template"`
	MaxLength int         `json:"max_length"`
	LossOn    string      `json:"loss_on"`
	job.Data
}

// shardPart is one dataset.
type shardPart struct {
	Dataset string  `json:"dataset"` // digest
	Weight  float64 `json:"weight"`
	Text    bool    `json:"text,omitempty"` // it may be a plain text
}

func newShardInput(t job.Training, files []rowsFile, enc *Encoder) shardInput {
	in := shardInput{Format: shardFormat, Tokenizer: enc.Digest(), Template: enc.TemplateDigest(), MaxLength: t.MaxLength, LossOn: t.LossOn, Data: t.Data}
	for _, file := range files {
		in.Parts = append(in.Parts, shardPart{file.digest, file.Weight, dataset.IsText(file.Name)})
		if file.Weight != math.Trunc(file.Weight) {
			in.Seed = t.Seed
		}
	}
	return in
}

// dataset is the digest of the rows: that of the file, or of the list of files and weights.
func (in shardInput) dataset() string {
	if len(in.Parts) == 1 && in.Parts[0].Weight == 1 {
		return in.Parts[0].Dataset
	}
	return blob.Digest(in.json(in.Parts))
}

func (in shardInput) json(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	return data
}

func (in shardInput) prefix() string {
	return "tokenized/" + strings.TrimPrefix(blob.Digest(in.json(in)), "sha256:")
}

// metadata goes into every shard, so that one that is found alone still says what it is.
func (in shardInput) metadata() map[string]string {
	return map[string]string{
		"descant.dataset": in.dataset(), "descant.tokenizer": in.Tokenizer, "descant.template": in.Template,
	}
}

// shardInfo is what the manifest tells about the shards.
type shardInfo struct {
	Input shardInput `json:"input"`
	Parts []result   `json:"parts"`
}

// totals adds the parts up.
func (i shardInfo) totals() (rows, tokens, trained int64, skipped int) {
	for _, part := range i.Parts {
		rows, tokens, trained = rows+part.Rows, tokens+part.Tokens, trained+part.TrainedTokens
		skipped += part.LeftOut.Count + part.Report.LeftOut.Count
	}
	return rows, tokens, trained, skipped
}

// warnings are those of all parts, each with the name of its dataset where there are several.
func (i shardInfo) warnings() (list []string) {
	for _, part := range i.Parts {
		for _, text := range part.warnings() {
			if len(i.Parts) > 1 {
				text = part.Report.File + ": " + text
			}
			list = append(list, text)
		}
	}
	return list
}

// result is dataset.Result with the warnings that people should see.
type result dataset.Result

func (r result) warnings() []string {
	var list []string
	add := func(n int, notes dataset.Notes, what string) {
		if n > 0 {
			list = append(list, fmt.Sprintf("%d rows %s: lines %s", n, what, notes.Lines))
		}
	}
	add(r.Truncated.Count, r.Truncated, "were longer than max_length and were cut")
	add(r.LeftOut.Count, r.LeftOut, "were left out, nothing in them can be trained")
	add(r.Report.LeftOut.Count, r.Report.LeftOut, "were left out, they have no answer to train on")
	if r.NotChosen > 0 {
		list = append(list, fmt.Sprintf("%d rows are not trained, as the weight of the dataset is below 1", r.NotChosen))
	}
	if r.Report.Repeats > 0 {
		list = append(list, fmt.Sprintf("%d rows repeat an earlier one; they were kept", r.Report.Repeats))
	}
	if r.Report.Weighted > 0 {
		list = append(list, fmt.Sprintf("%d rows say by weights which turns are trained; loss_on does not apply to them", r.Report.Weighted))
	}
	for _, key := range slices.Sorted(maps.Keys(r.Report.UnknownKeys)) {
		list = append(list, fmt.Sprintf("key %q in %d rows means nothing for training", key, r.Report.UnknownKeys[key]))
	}
	return append(list, r.Report.Remarks...)
}
