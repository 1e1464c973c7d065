package lora

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"descant/pkg/model"
	"descant/pkg/safetensors"

	"github.com/gomlx/compute"
)

// mergeBlock is how much of a weight is in memory as float32 at a time, in bytes.
const mergeBlock = 8 << 20

// addRows adds the rows [from, from+n) of a module's change scale·B·A to the same rows of its base weight, n·In
// values of float32, in place.
func (m Module) addRows(weight, flat []float32, from int) {
	a, b := flat[m.A:m.A+m.Rank*m.In], flat[m.B:m.B+m.Out*m.Rank]
	row := make([]float32, m.In)
	scale := float32(m.Scale)
	for o := range len(weight) / m.In {
		clear(row)
		for r := range m.Rank {
			factor := b[(from+o)*m.Rank+r]
			for i, v := range a[r*m.In : (r+1)*m.In] {
				row[i] += factor * v
			}
		}
		out := weight[o*m.In : (o+1)*m.In]
		for i, v := range row {
			out[i] += scale * v
		}
	}
}

// writeMerged writes a base weight [Out, In] with the module's change added: the sum in float32, rounded to the
// weight's own dtype (to nearest, ties to even), block after block of rows.
func (m Module) writeMerged(w io.Writer, dtype safetensors.DType, data []byte, flat []float32) error {
	rowBytes := m.In * dtype.Size()
	rows := max(1, mergeBlock/(4*m.In))
	for from := 0; from < m.Out; from += rows {
		n := min(rows, m.Out-from)
		values, err := safetensors.DecodeFloat32(dtype, data[from*rowBytes:(from+n)*rowBytes])
		if err != nil {
			return err
		}
		var group sync.WaitGroup
		share := (n + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0)
		for at := 0; at < n; at += share {
			part := values[at*m.In : min(at+share, n)*m.In]
			group.Go(func() { m.addRows(part, flat, from+at) })
		}
		group.Wait()
		text, err := safetensors.EncodeFloat32(dtype, values)
		if err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// Merge writes the weights of base with the adapter added into the folder dir: the files, the tensors in each and
// their dtypes are the base's. The sums are made in float32. Memory is bounded by a block of one tensor, whatever
// the size of the model. progress, if not nil, hears of the bytes of tensors that are written, and of all.
// A merge that ctx ends leaves whole files behind or none.
func (a *Adapter) Merge(ctx context.Context, base *safetensors.Set, dir string, progress func(done, total int64)) error {
	changes, err := a.changes(base)
	if err != nil {
		return err
	}
	var done, total int64
	for _, name := range base.Names() {
		total += int64(len(base.Bytes(name)))
	}
	for _, file := range base.Files() {
		var list []safetensors.Tensor
		for _, name := range file.Names() {
			info, _ := file.Info(name)
			list = append(list, safetensors.Tensor{Name: name, DType: info.DType, Shape: info.Shape, Stream: func(w io.Writer) error {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				data := file.Bytes(name)
				// What was written is not needed again.
				defer model.Forget(data)
				write := func() error { _, err := w.Write(data); return err }
				if change, ok := changes[name]; ok {
					write = func() error { return change.module.writeMerged(w, info.DType, data, change.flat) }
				}
				if err := write(); err != nil {
					return err
				}
				done += int64(len(data))
				if progress != nil {
					progress(done, total)
				}
				return nil
			}})
		}
		if err := safetensors.Write(filepath.Join(dir, filepath.Base(file.Path())), list, file.Metadata()); err != nil {
			return fmt.Errorf("write merged model: %w", err)
		}
	}
	index, err := os.ReadFile(filepath.Join(base.Dir(), safetensors.IndexFile))
	if os.IsNotExist(err) || len(base.Files()) == 1 && filepath.Base(base.Files()[0].Path()) == safetensors.SingleFile {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write merged model: %w", err)
	}
	return writeFile(filepath.Join(dir, safetensors.IndexFile), index)
}

// change is what happens to one weight.
type change struct {
	module Module
	flat   []float32
}

// changes finds the weights that the adapter changes, by name; those that do not fit are one error.
func (a *Adapter) changes(base *safetensors.Set) (map[string]change, error) {
	changes := map[string]change{}
	var problems []string
	for layer, modules := range a.Layers {
		for _, m := range modules {
			name := m.Name + ".weight"
			info, ok := base.Info(name)
			switch {
			case !ok:
				problems = append(problems, name+" is missing in the base")
			case !slices.Equal(info.Shape, []int{m.Out, m.In}):
				problems = append(problems, fmt.Sprintf("%s is %v in the base, the adapter is for %v", name, info.Shape, []int{m.Out, m.In}))
			default:
				changes[name] = change{m, a.Flats[layer]}
			}
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("merge: %d weights do not fit:\n  %s", len(problems), strings.Join(problems, "\n  "))
	}
	return changes, nil
}

// MergedDifference is the largest absolute difference between the logits [len(ids), vocab] of the merged model in a
// folder and those of base and adapter apart, over all places of one row of ids, computed in float32.
func (a *Adapter) MergedDifference(backend compute.Backend, base, merged string, ids []int32) (float64, error) {
	b := model.Batch{Rows: 1, Width: len(ids), IDs: ids}
	places := make([]int32, len(ids))
	for i := range places {
		places[i] = int32(i)
	}
	apart, err := model.StreamLogits(backend, base, b, places, a, a.Flats)
	if err != nil {
		return 0, err
	}
	together, err := model.StreamLogits(backend, merged, b, places, nil, nil)
	if err != nil {
		return 0, err
	}
	largest := 0.0
	for i := range apart {
		d := math.Abs(float64(apart[i]) - float64(together[i]))
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return 0, fmt.Errorf("logits of %s and %s cannot be compared: %g and %g at place %d", base, merged, apart[i], together[i], i)
		}
		largest = max(largest, d)
	}
	return largest, nil
}
