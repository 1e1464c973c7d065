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
	"time"

	"descant/pkg/gguf"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/scripts/llamacpp"
)

//go:embed peer.mjs
var peerScript []byte

// peer is llama.cpp in a process of its own. It answers one line of JSON with one.
type peer struct {
	o     options
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	vocab int
	seed  uint64
}

// startPeer exports base and one adapter as GGUF files and loads them.
func startPeer(ctx context.Context, o options, work string) (*peer, error) {
	if err := llamacpp.Install(ctx, o.peer); err != nil {
		return nil, err
	}
	cfg, err := model.ReadConfig(o.model)
	if err != nil {
		return nil, err
	}
	base, adapterFile := filepath.Join(work, "base.gguf"), filepath.Join(work, "adapter.gguf")
	if err := gguf.WriteBase(ctx, base, o.model, "bench", nil); err != nil {
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
	script := filepath.Join(o.peer, "benchserve.mjs")
	if err := os.WriteFile(script, peerScript, 0o644); err != nil {
		return nil, err
	}
	p := &peer{o: o, vocab: cfg.Vocab, cmd: exec.CommandContext(ctx, "node", script, base, adapterFile, fmt.Sprint(runtime.NumCPU()))}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start llama.cpp: %w", err)
	}
	return p, nil
}

// measure runs so many streams at once, with the adapter if count is not 0.
func (p *peer) measure(streams, count int) (measurement, error) {
	request := struct {
		Prompts [][]int32 `json:"prompts"`
		Tokens  int       `json:"tokens"`
		Adapter bool      `json:"adapter"`
	}{Tokens: p.o.tokens, Adapter: count > 0}
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
		return measurement{}, fmt.Errorf("llama.cpp has ended: %w", err)
	}
	var answer struct {
		// Times are milliseconds since the start, of every token of every stream.
		Times [][]float64 `json:"times"`
		Error string      `json:"error"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return measurement{}, fmt.Errorf("llama.cpp said %q: %w", line, err)
	}
	if answer.Error != "" {
		return measurement{}, errors.New(answer.Error)
	}
	start := time.Unix(0, 0)
	times := make([][]time.Time, len(answer.Times))
	for i, list := range answer.Times {
		if len(list) == 0 {
			return measurement{}, fmt.Errorf("stream %d of llama.cpp has no token", i)
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
		fmt.Fprintln(os.Stderr, "benchserve: llama.cpp:", err)
	}
}
