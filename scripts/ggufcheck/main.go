// Command ggufcheck loads exported bases and adapters in llama.cpp (node-llama-cpp) and compares what they answer
// with the parity cases: greedy ids, and probabilities of every next token. `make check-gguf` runs it.
//
//	ggufcheck --node FOLDER     where npm installs node-llama-cpp, once (30 MB of native code, no compiler)
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"

	"descant/pkg/gguf"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/tokenizer"
	"descant/scripts/llamacpp"
)

// check is one model for llama.cpp.
type check struct {
	Name    string `json:"name"`
	Base    string `json:"base"`    // GGUF file
	Adapter string `json:"adapter"` // GGUF file
	// Prompts are ids with the ids that greedy decoding gives, without and with the adapter.
	Prompts []prompt `json:"prompts"`
	// Rows are ids with the logits of every place, with the adapter.
	Rows []row `json:"rows"`
	// Limit is the largest difference of a probability that rounding explains.
	Limit float64 `json:"limit"`
	// Texts are to be tokenized to the ids.
	Texts []text `json:"texts"`
}

type prompt struct {
	IDs     []int32 `json:"ids"`
	Plain   []int32 `json:"plain"`
	Adapted []int32 `json:"adapted"`
}

type row struct {
	IDs    []int64     `json:"ids"`
	Logits [][]float32 `json:"logits"`
}

type text struct {
	Text string  `json:"text"`
	IDs  []int32 `json:"ids"`
}

func main() {
	node := flag.String("node", "", "folder where npm installs node-llama-cpp")
	parity := flag.String("parity", "testdata/parity", "folder of the parity cases")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *node, *parity); err != nil {
		fmt.Fprintln(os.Stderr, "ggufcheck:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, node, parity string) error {
	if err := llamacpp.Install(ctx, node); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "descant-ggufcheck-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system empties its temporary folder, too
	cases, err := filepath.Glob(filepath.Join(parity, "*", "generate.json"))
	if err != nil {
		return err
	}
	if len(cases) == 0 {
		return fmt.Errorf("no case with generate.json in %s", parity)
	}
	var checks []check
	for _, path := range cases {
		c, err := export(ctx, filepath.Dir(path), filepath.Join(dir, filepath.Base(filepath.Dir(path))))
		if errors.Is(err, gguf.ErrNoForm) {
			fmt.Printf("%s: refused: %v\n", c.Name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		checks = append(checks, c)
	}
	tiny, err := exportTiny(ctx, filepath.Join(dir, "tiny"))
	if err != nil {
		return err
	}
	pieces, err := exportPieces(ctx, filepath.Join(dir, "pieces"))
	if err != nil {
		return fmt.Errorf("pieces: %w", err)
	}
	data, err := json.Marshal(append(checks, tiny, pieces))
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "checks.json")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return err
	}
	// Node finds packages beside the program, so the program goes where they are.
	program := filepath.Join(node, "check.mjs")
	source, err := os.ReadFile("scripts/ggufcheck/check.mjs")
	if err != nil {
		return err
	}
	if err := os.WriteFile(program, source, 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "node", program, file)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// export writes base and adapter of a parity case and collects its reference numbers.
func export(ctx context.Context, dir, out string) (check, error) {
	c := check{Name: filepath.Base(dir), Base: out + "-base.gguf", Adapter: out + "-adapter.gguf"}
	base, err := withTokenizer(filepath.Join(dir, "base"), out)
	if err != nil {
		return c, err
	}
	if err := gguf.WriteBase(ctx, c.Base, base, gguf.BaseOptions{Name: c.Name}); err != nil {
		return c, err
	}
	cfg, err := model.ReadConfig(base)
	if err != nil {
		return c, err
	}
	adapter, err := lora.Load(cfg, filepath.Join(dir, "adapter"))
	if err != nil {
		return c, err
	}
	if err := gguf.WriteAdapter(c.Adapter, cfg, adapter, gguf.AdapterInfo{Name: c.Name, Base: c.Name}); err != nil {
		return c, err
	}
	gap := 1e-3
	if c.Limit = 1e-4; cfg.Stored == "bfloat16" {
		// llama.cpp rounds what meets a weight in bfloat16 to bfloat16 as well.
		c.Limit, gap = 2e-2, 0.2
	}
	if c.Prompts, err = greedy(filepath.Join(dir, "generate.json"), gap); err != nil {
		return c, err
	}
	if c.Rows, err = logits(dir, cfg.Vocab); err != nil {
		return c, err
	}
	// Beyond it llama.cpp, which knows no sliding window of these families, computes otherwise.
	limit := gguf.ContextLength(cfg)
	all := len(c.Prompts) + len(c.Rows)
	c.Prompts = slices.DeleteFunc(c.Prompts, func(p prompt) bool { return len(p.IDs)+max(len(p.Plain), len(p.Adapted)) > limit })
	c.Rows = slices.DeleteFunc(c.Rows, func(r row) bool { return len(r.IDs) > limit })
	if left := all - len(c.Prompts) - len(c.Rows); left > 0 {
		fmt.Printf("%s: %d of %d sequences are longer than its context of %d\n", c.Name, left, all, limit)
	}
	return c, nil
}

// greedy reads prompts and what decoding gives, up to the first id that is ahead of the next best by less than gap in
// its logit: from there on rounding decides.
func greedy(path string, gap float64) (list []prompt, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	type answer struct {
		IDs []int32   `json:"ids"`
		Gap []float64 `json:"gap"`
	}
	sure := func(a answer) []int32 {
		if end := slices.IndexFunc(a.Gap, func(g float64) bool { return g < gap }); end >= 0 {
			return a.IDs[:end]
		}
		return a.IDs
	}
	var file struct {
		Prompts []struct {
			Prompt        []int32 `json:"prompt"`
			Base, Adapter answer
		} `json:"prompts"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, p := range file.Prompts {
		list = append(list, prompt{p.Prompt, sure(p.Base), sure(p.Adapter)})
	}
	return list, nil
}

// exportTiny writes the built-in base, which has a tokenizer, to compare ids of texts.
func exportTiny(ctx context.Context, out string) (check, error) {
	c := check{Name: "builtin:tiny", Base: out + "-base.gguf"}
	const dir = "models/tiny"
	if err := gguf.WriteBase(ctx, c.Base, dir, gguf.BaseOptions{Name: c.Name}); err != nil {
		return c, err
	}
	t, err := tokenizer.Load(dir)
	if err != nil {
		return c, err
	}
	defer t.Close()
	for _, s := range []string{"Hello, world! It's 12345.", "请用三点总结这段话：今天天气很好。", "  two  spaces\n\n\tand a tab ", "naïve café Ⅷ 🙂"} {
		c.Texts = append(c.Texts, text{s, t.Encode(s)})
	}
	return c, nil
}
