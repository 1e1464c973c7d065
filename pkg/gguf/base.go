package gguf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// ErrNoForm says that llama.cpp cannot compute a base as transformers does.
var ErrNoForm = errors.New("it has no form in llama.cpp")

// BaseOptions say how [WriteBase] writes a base.
type BaseOptions struct {
	Name string
	// OutType is what matrices are stored as, one of [OutTypes]; "" and "auto" are their own dtype.
	OutType string
	// Progress, if not nil, hears of the bytes of tensors that are written, and of all.
	Progress func(done, total int64)
}

// OutTypes are the values of [BaseOptions.OutType], named as by llama.cpp's converter.
func OutTypes() []string { return []string{"auto", "f32", "f16", "bf16", "q8_0"} }

// outType is the type that OutType names; own says that every matrix keeps its dtype.
func outType(name string) (kind Type, own bool, err error) {
	switch name {
	case "", "auto":
		return 0, true, nil
	case "f32":
		return F32, false, nil
	case "f16":
		return F16, false, nil
	case "bf16":
		return BF16, false, nil
	case "q8_0":
		return Q8_0, false, nil
	}
	return 0, false, fmt.Errorf("the type %q cannot be exported: give one of %s", name, strings.Join(OutTypes(), ", "))
}

// WriteBase writes a model folder as a GGUF file: matrices in their own dtype (F32, F16 or BF16) or quantised, vectors in
// float32, the tokenizer and the chat template. Tensors are streamed.
func WriteBase(ctx context.Context, path, dir string, o BaseOptions) error {
	cfg, err := model.ReadConfig(dir)
	if err != nil {
		return err
	}
	arch, err := architecture(cfg)
	if err != nil {
		return err
	}
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		return err
	}
	defer set.Close()
	b := &base{cfg: cfg, arch: arch, set: set}
	if b.kind, b.own, err = outType(o.OutType); err != nil {
		return err
	}
	if err := b.tensors(ctx); err != nil {
		return fmt.Errorf("export %s: %w", dir, err)
	}
	vocabulary, err := vocabularyFields(dir, cfg.Vocab)
	if err != nil {
		return fmt.Errorf("export %s: %w", dir, err)
	}
	fields := append(b.fields(o.Name), vocabulary...)
	return Write(path, fields, b.list, o.Progress)
}

type base struct {
	cfg  *model.Config
	arch string
	set  *safetensors.Set
	list []Tensor
	// kind is the type of the matrices, unless they keep their own.
	kind Type
	own  bool
}

// fields are the architecture's numbers, in the keys that llama.cpp reads.
func (b *base) fields(name string) []Field {
	c := b.cfg
	number := func(key string, n int) Field { return Field{b.arch + "." + key, uint32(n)} }
	return []Field{
		{"general.architecture", b.arch}, {"general.type", "model"}, {"general.name", name},
		number("block_count", c.Layers), number("context_length", ContextLength(c)), number("embedding_length", c.Hidden),
		number("feed_forward_length", c.Intermediate), number("attention.head_count", c.Heads),
		number("attention.head_count_kv", c.KVHeads), number("attention.key_length", c.HeadDim),
		number("attention.value_length", c.HeadDim), number("rope.dimension_count", c.HeadDim), number("vocab_size", c.Vocab),
		{b.arch + ".rope.freq_base", float32(c.Rope.Theta)},
		{b.arch + ".attention.layer_norm_rms_epsilon", float32(c.Eps)},
		{"general.quantization_version", uint32(2)},
	}
}

// ContextLength is how many tokens llama.cpp may look at as transformers does. It reads these families without
// sliding windows, which are the same up to the length of the shortest; dynamic rope scaling changes nothing up to
// the model's positions.
func ContextLength(c *model.Config) int {
	length := c.MaxPositions
	for layer := range c.Layers {
		if window := c.Window(layer); window > 0 {
			length = min(length, window)
		}
	}
	return length
}

// tensors lists the tensors of the file; those that are missing or of a wrong shape are one error.
func (b *base) tensors(ctx context.Context) error {
	c := b.cfg
	var problems []string
	for _, t := range c.Tensors() {
		info, ok := b.set.Info(t.Name)
		switch {
		case !ok:
			problems = append(problems, t.Name+" is missing")
			continue
		case fmt.Sprint(info.Shape) != fmt.Sprint(t.Shape):
			problems = append(problems, fmt.Sprintf("%s is %v, expected %v", t.Name, info.Shape, t.Shape))
			continue
		}
		if err := b.add(ctx, t, info.DType); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", t.Name, err))
		}
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	factors, scaled := c.Rope.Factors(c.HeadDim)
	if b.arch == "qwen3" && c.OutBias {
		return fmt.Errorf("%w for qwen3: the bias of o_proj", ErrNoForm)
	}
	if !scaled {
		return nil
	}
	if b.arch != "llama" {
		return fmt.Errorf("%w for %s: its rope scaling", ErrNoForm, b.arch)
	}
	b.list = append(b.list, Tensor{Name: "rope_freqs.weight", Shape: []int{len(factors)}, Stream: stream(factors)})
	return nil
}

// add puts one tensor of the checkpoint on the list.
func (b *base) add(ctx context.Context, t model.Tensor, dtype safetensors.DType) error {
	name, order := b.name(t.Name)
	kind, err := typeOf(dtype)
	if err != nil {
		return err
	}
	switch {
	case len(t.Shape) == 1:
		kind = F32
	case !b.own:
		kind = b.kind
	}
	if kind == Q8_0 && t.Shape[1]%q8Block != 0 {
		return fmt.Errorf("its rows have %d elements: q8_0 needs a multiple of %d", t.Shape[1], q8Block)
	}
	b.list = append(b.list, Tensor{Name: name, Type: kind, Shape: t.Shape, Stream: func(w io.Writer) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		data := b.set.Bytes(t.Name)
		defer model.Forget(data)
		rows := t.Shape[0]
		if len(t.Shape) == 1 && order == nil {
			rows = 1
		}
		rowBytes := len(data) / rows
		for row := range rows {
			from := row
			if order != nil {
				from = order(row)
			}
			part, err := converted(kind, dtype, data[from*rowBytes:(from+1)*rowBytes])
			if err != nil {
				return err
			}
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return nil
	}})
	return nil
}

// converted brings elements from a checkpoint's dtype to the type of the file.
func converted(kind Type, dtype safetensors.DType, data []byte) ([]byte, error) {
	if own, err := typeOf(dtype); err == nil && own == kind {
		return data, nil
	}
	values, err := safetensors.DecodeFloat32(dtype, data)
	if err != nil {
		return nil, err
	}
	switch kind {
	case F16:
		return safetensors.EncodeFloat32(safetensors.F16, values)
	case BF16:
		return safetensors.EncodeFloat32(safetensors.BF16, values)
	case Q8_0:
		return appendQ8(nil, values), nil
	}
	return safetensors.EncodeFloat32(safetensors.F32, values)
}

// name translates a tensor's name, and tells how its rows are ordered.
func (b *base) name(checkpoint string) (name string, order func(int) int) {
	switch checkpoint {
	case model.EmbedName:
		return "token_embd.weight", nil
	case model.NormName:
		return "output_norm.weight", nil
	case model.HeadName:
		return "output.weight", nil
	}
	layer, local, _ := strings.Cut(strings.TrimPrefix(checkpoint, "model.layers."), ".")
	dot := strings.LastIndexByte(local, '.')
	module, part := local[:dot], local[dot:]
	return "blk." + layer + "." + layerNames()[module] + part, rowOrder(b.arch, module, b.cfg.HeadDim)
}
