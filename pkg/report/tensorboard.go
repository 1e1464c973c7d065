package report

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// EventFile writes scalars as TensorBoard reads them, under the tags of transformers' Trainer. A file is a list of
// records (tensorflow/core/lib/io/record_writer.h), each an Event message (tensorflow/core/util/event.proto):
//
//	length uint64 | masked crc32c of length | data | masked crc32c of data      all little-endian
//
// Every record is one write, so a reader that follows the file sees whole steps.
type EventFile struct {
	file *os.File
}

// EventFileName is a name that TensorBoard recognises. suffix tells files of the same second apart.
func EventFileName(made time.Time, suffix string) string {
	return fmt.Sprintf("events.out.tfevents.%d.%s", made.Unix(), suffix)
}

// CreateEventFile starts a new file in dir, which is made where it does not exist.
func CreateEventFile(dir, name string, made time.Time) (*EventFile, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	f := &EventFile{file: file}
	version := protowire.AppendString(protowire.AppendTag(nil, fieldFileVersion, protowire.BytesType), "brain.Event:2")
	if err := f.event(made, 0, version); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

// Fields of the messages Event, Summary and Summary.Value.
const (
	fieldWallTime    = 1 // double
	fieldStep        = 2 // int64
	fieldFileVersion = 3 // string
	fieldSummary     = 5 // Summary
	fieldValue       = 1 // repeated Value, of Summary
	fieldTag         = 1 // string, of Value
	fieldSimpleValue = 2 // float, of Value
)

// Scalar is one value with its tag.
type Scalar struct {
	Tag   string
	Value float64
}

// Scalars are the values of a step under their tags.
func (p Point) Scalars() []Scalar {
	return []Scalar{{"train/loss", p.Loss}, {"train/learning_rate", p.LR}, {"train/grad_norm", p.GradNorm},
		{"train/epoch", p.Epoch}, {"train/tokens_per_second", p.TokensPerSecond}}
}

// Scalars are the values of an evaluation under their tags.
func (e Eval) Scalars() []Scalar { return []Scalar{{"eval/loss", e.Loss}} }

// Write adds the values of a step.
func (f *EventFile) Write(at time.Time, step int, scalars []Scalar) error {
	var summary []byte
	for _, s := range scalars {
		value := protowire.AppendString(protowire.AppendTag(nil, fieldTag, protowire.BytesType), s.Tag)
		value = protowire.AppendFixed32(protowire.AppendTag(value, fieldSimpleValue, protowire.Fixed32Type), math.Float32bits(float32(s.Value)))
		summary = protowire.AppendBytes(protowire.AppendTag(summary, fieldValue, protowire.BytesType), value)
	}
	return f.event(at, step, protowire.AppendBytes(protowire.AppendTag(nil, fieldSummary, protowire.BytesType), summary))
}

// event writes an event that holds a field.
func (f *EventFile) event(at time.Time, step int, field []byte) error {
	seconds := float64(at.UnixNano()) / 1e9
	event := protowire.AppendFixed64(protowire.AppendTag(nil, fieldWallTime, protowire.Fixed64Type), math.Float64bits(seconds))
	event = protowire.AppendVarint(protowire.AppendTag(event, fieldStep, protowire.VarintType), uint64(step))
	event = append(event, field...)

	record := binary.LittleEndian.AppendUint64(nil, uint64(len(event)))
	record = binary.LittleEndian.AppendUint32(record, masked(record))
	record = append(record, event...)
	record = binary.LittleEndian.AppendUint32(record, masked(event))
	if _, err := f.file.Write(record); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

// Close ends the file.
func (f *EventFile) Close() error { return f.file.Close() }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum of the record format, turned so that checksums of data that holds checksums stay good.
func masked(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// WriteEventFile writes all steps and evaluations of a run into one file, in the order of their steps.
func (r *Run) WriteEventFile(dir, name string, made time.Time) (err error) {
	f, err := CreateEventFile(dir, name, made)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	evals := r.Evals
	for _, p := range r.Points {
		for len(evals) > 0 && evals[0].Step < p.Step {
			if err := f.Write(evals[0].Time, evals[0].Step, evals[0].Scalars()); err != nil {
				return err
			}
			evals = evals[1:]
		}
		if err := f.Write(p.Time, p.Step, p.Scalars()); err != nil {
			return err
		}
	}
	for _, e := range evals {
		if err := f.Write(e.Time, e.Step, e.Scalars()); err != nil {
			return err
		}
	}
	return nil
}
