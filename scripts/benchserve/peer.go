package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"descant/pkg/gguf"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/scripts/llamacpp"
	"descant/scripts/peft"
)

//go:embed llamacpp.mjs
var llamaScript []byte

//go:embed transformers.py
var transformersScript []byte

// peer is another engine in a process of its own. It answers one line of JSON with one.
type peer struct {
	name string
	o    options
	// adapters is how many different ones it can have in one batch.
	adapters int
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
	vocab    int
	seed     uint64
}

// startPeers starts those of the peers that are wanted.
func startPeers(ctx context.Context, o options, work string) (list []*peer, err error) {
	defer func() {
		if err != nil {
			closeAll(list)
		}
	}()
	for _, name := range o.peers {
		start := startLlama
		if name == "transformers" {
			start = startTransformers
		}
		p, err := start(ctx, o, name, work)
		if err != nil {
			return list, err
		}
		list = append(list, p)
	}
	return list, nil
}

// startLlama exports base and one adapter as GGUF files and loads them in llama.cpp, whose adapters are those of a
// whole context.
func startLlama(ctx context.Context, o options, name, work string) (*peer, error) {
	dir := filepath.Join(o.cache, "llama-cpp")
	if err := llamacpp.Install(ctx, dir); err != nil {
		return nil, err
	}
	cfg, err := model.ReadConfig(o.model)
	if err != nil {
		return nil, err
	}
	outType := strings.TrimPrefix(name, "llama.cpp-")
	base, adapterFile := filepath.Join(work, outType+".gguf"), filepath.Join(work, "adapter.gguf")
	if err := gguf.WriteBase(ctx, base, o.model, gguf.BaseOptions{Name: "bench", OutType: outType}); err != nil {
		return nil, err
	}
	a, err := lora.Load(cfg, adapterDir(work, 0))
	if err != nil {
		return nil, err
	}
	if err := gguf.WriteAdapter(adapterFile, cfg, a, gguf.AdapterInfo{Name: "adapter", Base: "bench"}); err != nil {
		return nil, err
	}
	// Node.js finds packages beside the script.
	script := filepath.Join(dir, "benchserve.mjs")
	if err := os.WriteFile(script, llamaScript, 0o644); err != nil {
		return nil, err
	}
	p := &peer{name: name, o: o, adapters: 1, vocab: cfg.Vocab}
	return p, p.start(exec.CommandContext(ctx, "node", script, base, adapterFile, fmt.Sprint(runtime.NumCPU())))
}

// startTransformers loads base and adapters in transformers with PEFT.
func startTransformers(ctx context.Context, o options, name, work string) (*peer, error) {
	python, err := peft.Install(ctx, filepath.Join(o.cache, "bench-train", "peer")) // the one of make bench-train
	if err != nil {
		return nil, err
	}
	cfg, err := model.ReadConfig(o.model)
	if err != nil {
		return nil, err
	}
	script := filepath.Join(work, "peer.py") // not its own name, which Python would import
	if err := os.WriteFile(script, transformersScript, 0o644); err != nil {
		return nil, err
	}
	p := &peer{name: name, o: o, adapters: slots, vocab: cfg.Vocab}
	args := []string{script, o.model, o.dtype, fmt.Sprint(runtime.NumCPU())}
	for i := range slots {
		args = append(args, adapterDir(work, i))
	}
	return p, p.start(exec.CommandContext(ctx, python, args...))
}

// start starts the process.
func (p *peer) start(cmd *exec.Cmd) (err error) {
	p.cmd = cmd
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

// measure runs so many streams at once, with so many different adapters.
func (p *peer) measure(streams, count int) (measurement, error) {
	request := struct {
		Prompts  [][]int32 `json:"prompts"`
		Tokens   int       `json:"tokens"`
		Adapters int       `json:"adapters"`
	}{Tokens: p.o.tokens, Adapters: count}
	for range streams {
		p.seed++
		request.Prompts = append(request.Prompts, randomPrompt(p.seed, p.o.prompt, p.vocab))
	}
	line, err := json.Marshal(request)
	if err != nil {
		return measurement{}, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return measurement{}, err
	}
	if line, err = p.out.ReadBytes('\n'); err != nil {
		return measurement{}, fmt.Errorf("it has ended: %w", err)
	}
	var answer struct {
		// Times are milliseconds since the start, of every token of every stream.
		Times [][]float64 `json:"times"`
		Error string      `json:"error"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return measurement{}, fmt.Errorf("it said %q: %w", line, err)
	}
	if answer.Error != "" {
		return measurement{}, errors.New(answer.Error)
	}
	start := time.Unix(0, 0)
	times := make([][]time.Time, len(answer.Times))
	for i, list := range answer.Times {
		if len(list) == 0 {
			return measurement{}, fmt.Errorf("stream %d has no token", i)
		}
		for _, ms := range list {
			times[i] = append(times[i], start.Add(time.Duration(ms*float64(time.Millisecond))))
		}
	}
	return summarize(start, times), nil
}

// close ends the process: it leaves when its input ends.
func (p *peer) close() {
	if err := errors.Join(p.in.Close(), p.cmd.Wait()); err != nil {
		fmt.Fprintf(os.Stderr, "benchserve: %s: %v\n", p.name, err)
	}
}

func closeAll(list []*peer) {
	for _, p := range list {
		p.close()
	}
}
