package model

import (
	"fmt"

	"descant/pkg/safetensors"

	"github.com/gomlx/compute"
)

// StreamLogits gives the logits [len(places), vocab] f32 of the tokens at the flat places of a batch (as
// [Forward.Logits] does) without the model in memory: one decoder layer, the embedding or the head is there at a
// time. patch with the flat parameters of each layer is optional. It is for one look at a model; whoever runs it
// often loads it.
func StreamLogits(backend compute.Backend, dir string, b Batch, places []int32, patch Patch, params [][]float32) ([]float32, error) {
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	defer set.Close()
	if err := checkTensors(cfg, set); err != nil {
		return nil, fmt.Errorf("open model %s: %w", dir, err)
	}
	m := &Model{Config: cfg, Layers: make([][]*Array, cfg.Layers)}
	defer m.Close()
	s := &streamed{set: set, forward: NewForward(m, NewCompiler(backend), patch, make([]*Array, cfg.Layers)), params: params}
	defer s.forward.Close()
	logits, err := s.logits(b, places)
	if err != nil {
		return nil, fmt.Errorf("run model %s: %w", dir, err)
	}
	return logits, nil
}

// streamed is a forward pass whose model holds only what is at work.
type streamed struct {
	set     *safetensors.Set
	forward *Forward
	params  [][]float32
}

func (s *streamed) logits(b Batch, places []int32) ([]float32, error) {
	m, f := s.forward.model, s.forward
	in, err := f.inputs(b)
	if err != nil {
		return nil, err
	}
	defer FreeAll(in...)
	if m.Embed, err = s.load(Tensor{EmbedName, []int{m.Config.Vocab, m.Config.Hidden}}); err != nil {
		return nil, err
	}
	x, err := f.embed(in[0])
	if err != nil {
		return nil, err
	}
	// A tied model reads its embedding twice rather than keep it for the time of all layers.
	m.Embed.Free()
	for i := range m.Layers {
		next, err := s.layer(i, x, in)
		x.Free()
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		x = next
	}
	defer x.Free()
	head := HeadName
	if m.Config.Tied {
		head = EmbedName
	}
	if m.Head, err = s.load(Tensor{head, []int{m.Config.Vocab, m.Config.Hidden}}); err != nil {
		return nil, err
	}
	if m.Norm, err = s.load(Tensor{NormName, []int{m.Config.Hidden}}); err != nil {
		return nil, err
	}
	_, logits, err := f.Head(x, places)
	return logits, err
}

// layer loads one decoder layer, runs it and frees it.
func (s *streamed) layer(i int, x *Array, in []*Array) (*Array, error) {
	m, f := s.forward.model, s.forward
	defer func() {
		FreeAll(m.Layers[i]...)
		FreeAll(f.params[i])
	}()
	for _, t := range m.Config.LayerTensors() {
		array, err := s.load(Tensor{LayerPrefix(i) + t.Name, t.Shape})
		if err != nil {
			return nil, err
		}
		m.Layers[i] = append(m.Layers[i], array)
	}
	if f.patch != nil && f.patch.Signature(i) != "" {
		array, err := Upload(f.compiler.Backend(), s.params[i], len(s.params[i]))
		if err != nil {
			return nil, err
		}
		f.params[i] = array
	}
	out, err := f.layer(i, x, in[1], in[2], in[3])
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *streamed) load(t Tensor) (*Array, error) {
	return loadTensor(s.forward.compiler.Backend(), s.set, t)
}
