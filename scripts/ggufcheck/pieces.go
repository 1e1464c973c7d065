package main

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/device"
	"descant/pkg/gguf"
	"descant/pkg/model"
	"descant/pkg/safetensors"
	"descant/pkg/tokenizer"
)

const piecesConfig = `{"model_type":"llama","vocab_size":330,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,
	"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":256,"rms_norm_eps":1e-5,"eos_token_id":2,"bos_token_id":1}`

// exportPieces writes a random base in the layout of Llama with a SentencePiece tokenizer, to compare the ids of texts, and
// the logits behind them with those of this project's own forward pass.
func exportPieces(ctx context.Context, out string) (check, error) {
	c := check{Name: "SentencePiece", Base: out + "-base.gguf", Limit: 1e-4}
	if err := writePieces(out); err != nil {
		return c, err
	}
	if err := gguf.WriteBase(ctx, c.Base, out, gguf.BaseOptions{Name: c.Name}); err != nil {
		return c, err
	}
	t, err := tokenizer.Load(out)
	if err != nil {
		return c, err
	}
	defer t.Close()
	for _, s := range []string{"the end", " the  end", "Hello, world! It's 12345.", "请用三点总结这段话", "  two  spaces\n\n\tand a tab ", "naïve café Ⅷ 🙂", `{"a": [1, 12]}`, "ththethe  inerin"} {
		c.Texts = append(c.Texts, text{s, t.EncodePlain(s)})
	}
	dev, err := device.Open(device.Go)
	if err != nil {
		return c, err
	}
	defer dev.Close()
	m, err := model.Load(dev, out)
	if err != nil {
		return c, err
	}
	defer m.Close()
	forward := model.NewForward(m, model.NewCompiler(dev.Backend()), nil, nil)
	defer forward.Close()
	for _, text := range c.Texts {
		places, ids := make([]int32, len(text.IDs)), make([]int64, len(text.IDs))
		for i, id := range text.IDs {
			places[i], ids[i] = int32(i), int64(id)
		}
		_, logits, err := forward.Logits(model.Batch{Rows: 1, Width: len(ids), IDs: text.IDs}, places)
		if err != nil {
			return c, err
		}
		r := row{IDs: ids}
		for i := range ids {
			r.Logits = append(r.Logits, logits[i*m.Config.Vocab:(i+1)*m.Config.Vocab])
		}
		c.Rows = append(c.Rows, r)
	}
	return c, nil
}

// writePieces writes the base into dir.
func writePieces(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(piecesConfig), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", "sentencepiece", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	cfg, err := model.ReadConfig(dir)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(11, 12))
	var tensors []safetensors.Tensor
	for _, want := range cfg.Tensors() {
		mean := 0.0
		if strings.Contains(want.Name, "norm") {
			mean = 1
		}
		data := make([]byte, 0, 4*want.Size())
		for range want.Size() {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(mean+0.15*random.NormFloat64())))
		}
		tensors = append(tensors, safetensors.Tensor{Name: want.Name, DType: safetensors.F32, Shape: want.Shape, Data: data})
	}
	return safetensors.Write(filepath.Join(dir, safetensors.SingleFile), tensors, map[string]string{"format": "pt"})
}
