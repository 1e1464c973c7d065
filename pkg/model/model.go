package model

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"descant/pkg/device"
	"descant/pkg/safetensors"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Model is a base model in the memory of a device. Its arrays are read-only and may be shared by any number
// of users; [Model.Close] frees them.
type Model struct {
	Config *Config
	// Embed is the embedding [vocab, hidden], Norm the final norm [hidden].
	Embed, Norm *Array
	// Head is the output matrix [vocab, hidden]; it is Embed itself where the model is tied.
	Head *Array
	// Layers holds the weights of every layer in the order of [Config.LayerTensors], in the shapes of
	// [Tensor.Memory] (f32) or as stored (bf16 and [Halves]).
	Layers [][]*Array
	// Rounded is the number of matrices whose files hold more digits than bf16 does, 0 in f32.
	Rounded int
}

// DType is that of the matrices: float32, bfloat16 or [Halves]. See [Arithmetic].
func (m *Model) DType() dtypes.DType { return m.Embed.Shape().DType }

// Load reads a model folder (config.json, model.safetensors or shards with their index) into device memory,
// as float32. Missing, unexpected and misshapen tensors are one error with the whole list.
func Load(dev *device.Device, dir string) (*Model, error) {
	return LoadOn(dev.Backend(), dir)
}

// LoadOn is [Load] for a bare backend.
func LoadOn(backend compute.Backend, dir string) (*Model, error) {
	return load(backend, dir, dtypes.Float32)
}

// load reads the matrices as the dtype and everything else as float32.
func load(backend compute.Backend, dir string, dtype dtypes.DType) (*Model, error) {
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	defer set.Close()
	if err := checkTensors(cfg, set); err != nil {
		return nil, fmt.Errorf("load model %s: %w", dir, err)
	}
	if dtype == Halves && !fitHalves(cfg, set) {
		dtype = dtypes.Float32
	}
	m := &Model{Config: cfg, Layers: make([][]*Array, cfg.Layers)}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	load := func(into **Array, t Tensor) {
		read := loadTensor
		switch {
		case len(t.Shape) != 2:
		case dtype == Halves:
			read = loadHalves
		case dtype == dtypes.BFloat16:
			read = loadBF16
			if info, _ := set.Info(t.Name); info.DType != safetensors.BF16 {
				m.Rounded++
			}
		}
		group.Go(func() (err error) {
			*into, err = read(backend, set, t)
			return err
		})
	}
	load(&m.Embed, Tensor{EmbedName, []int{cfg.Vocab, cfg.Hidden}})
	load(&m.Norm, Tensor{NormName, []int{cfg.Hidden}})
	if !cfg.Tied {
		load(&m.Head, Tensor{HeadName, []int{cfg.Vocab, cfg.Hidden}})
	}
	for i := range m.Layers {
		tensors := cfg.LayerTensors()
		m.Layers[i] = make([]*Array, len(tensors))
		for k, t := range tensors {
			load(&m.Layers[i][k], Tensor{LayerPrefix(i) + t.Name, t.Shape})
		}
	}
	if err := group.Wait(); err != nil {
		m.Close()
		return nil, fmt.Errorf("load model %s: %w", dir, err)
	}
	if cfg.Tied {
		m.Head = m.Embed
	}
	return m, nil
}

// Close frees the weights.
func (m *Model) Close() {
	FreeAll(m.Embed, m.Norm, m.Head)
	for _, layer := range m.Layers {
		FreeAll(layer...)
	}
}

// Bytes is the memory that the weights take.
func (m *Model) Bytes() int64 {
	n := m.Embed.Bytes() + m.Norm.Bytes()
	if m.Head != m.Embed {
		n += m.Head.Bytes()
	}
	for _, layer := range m.Layers {
		for _, w := range layer {
			n += w.Bytes()
		}
	}
	return n
}

// checkTensors compares what the files hold with what the configuration asks for.
func checkTensors(cfg *Config, set *safetensors.Set) error {
	var problems []string
	expected := map[string]bool{}
	for _, t := range cfg.Tensors() {
		expected[t.Name] = true
		info, ok := set.Info(t.Name)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s %v is missing", t.Name, t.Shape))
		case !slices.Equal(info.Shape, t.Shape):
			problems = append(problems, fmt.Sprintf("%s is %v, expected %v", t.Name, info.Shape, t.Shape))
		case !convertible(info.DType):
			problems = append(problems, fmt.Sprintf("%s is %s, expected F32, BF16 or F16", t.Name, info.DType))
		}
	}
	for _, name := range set.Names() {
		if !expected[name] && !ignored(cfg, name) {
			problems = append(problems, name+" is not part of the architecture")
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%d of the tensors do not fit config.json:\n  %s", len(problems), strings.Join(problems, "\n  "))
}

func convertible(d safetensors.DType) bool {
	return d == safetensors.F32 || d == safetensors.BF16 || d == safetensors.F16
}

// ignored says which surplus tensors change nothing: old checkpoints store the rotary frequencies, and some
// store the head of a tied model a second time.
func ignored(cfg *Config, name string) bool {
	return strings.HasSuffix(name, ".rotary_emb.inv_freq") || cfg.Tied && name == HeadName
}

// loadTensor converts one tensor to float32 in its shape in memory.
func loadTensor(backend compute.Backend, set *safetensors.Set, t Tensor) (*Array, error) {
	info, _ := set.Info(t.Name)
	data := set.Bytes(t.Name)
	defer Forget(data)
	return Fill(backend, func(out []float32) error {
		if err := readInto(out, info.DType, data, t); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		return nil
	}, t.Memory()...)
}

// Forget lets go of the pages of a mapped file that were just read: they would count as memory of this process
// until the file is closed, a third more than the weights need. It is a hint; the pages come back when read.
func Forget(data []byte) {
	page := os.Getpagesize()
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(data))) & uintptr(page-1))
	if size := (len(data) - skip) / page * page; size > 0 {
		_ = unix.Madvise(data[skip:skip+size], unix.MADV_DONTNEED)
	}
}

// copyMapped copies a part of a mapped file piece by piece, and lets go of each.
func copyMapped(to, from []byte) {
	const piece = 16 << 20
	for at := 0; at < len(from); at += piece {
		end := min(at+piece, len(from))
		copy(to[at:], from[at:end])
		Forget(from[at:end])
	}
}

// readInto decodes block after block of rows, so that no second copy of a large tensor exists.
func readInto(out []float32, dtype safetensors.DType, data []byte, t Tensor) error {
	rows, width := 1, t.Shape[len(t.Shape)-1]
	if len(t.Shape) == 2 {
		rows = t.Shape[0]
	}
	transpose := t.transposed()
	const block = 32 // rows: 128 bytes of each column, two cache lines
	for r := 0; r < rows; r += block {
		n := min(block, rows-r)
		rowBytes := width * dtype.Size()
		values, err := safetensors.DecodeFloat32(dtype, data[r*rowBytes:(r+n)*rowBytes])
		if err != nil {
			return err
		}
		if !transpose {
			copy(out[r*width:], values)
			continue
		}
		for c := range width {
			column := out[c*rows+r:]
			for i := range n {
				column[i] = values[i*width+c]
			}
		}
	}
	return nil
}

// Transposed turns the memory layout [in, out] of a linear weight into the files' [out, in], or back.
func Transposed(values []float32, rows, cols int) []float32 {
	out := make([]float32, len(values))
	const block = 32
	for r0 := 0; r0 < rows; r0 += block {
		for c := range cols {
			for r := r0; r < min(r0+block, rows); r++ {
				out[c*rows+r] = values[r*cols+c]
			}
		}
	}
	return out
}
