// Command benchserve measures the inference engine: time to first token, time between tokens and throughput for
// several numbers of streams, with the bare base, one adapter and eight adapters mixed in one batch. With a folder for
// Node.js packages it measures llama.cpp alternately, on the same weights. `make bench-serve` runs it.
//
//	benchserve [--model FOLDER] [--dtype bf16] [--streams 1,4,8,16,32] [--peer FOLDER]
//
// Without a model it makes a checkpoint with the shape of Qwen2.5-0.5B and random weights (1 GB), once.
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
	"strconv"
	"strings"
	"time"

	"descant/pkg/device"
	"descant/pkg/generate"
	"descant/pkg/hub/hubtest"
)

// options are the flags.
type options struct {
	model, tokenizer, device, dtype, peer, out string
	streams                                    []int
	prompt, tokens, rounds                     int
}

// adapters says how many different ones the streams have.
type adapters struct {
	name  string
	count int
}

var setups = []adapters{{"base", 0}, {"1 adapter", 1}, {"8 adapters", 8}}

// result is one line of the table. Times are in seconds.
type result struct {
	Engine   string `json:"engine"`
	Adapters string `json:"adapters"`
	Round    int    `json:"round"`
	Streams  int    `json:"streams"`
	measurement
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchserve:", err)
		os.Exit(1)
	}
}

func readOptions() (o options, err error) {
	var streams string
	flag.StringVar(&o.model, "model", "", "model folder; made when not given")
	flag.StringVar(&o.tokenizer, "tokenizer", "models/tiny", "folder of the tokenizer that a made model gets")
	flag.StringVar(&o.device, "device", "", "device (auto, xla, cuda, go)")
	flag.StringVar(&o.dtype, "dtype", generate.F32, "f32 or bf16")
	flag.StringVar(&o.peer, "peer", "", "folder where npm installs node-llama-cpp; empty measures the engine alone")
	flag.StringVar(&o.out, "out", "", "file for the results as JSON")
	flag.StringVar(&streams, "streams", "1,4,8,16,32", "numbers of streams")
	flag.IntVar(&o.prompt, "prompt", 128, "tokens of a prompt")
	flag.IntVar(&o.tokens, "tokens", 64, "tokens of an answer")
	flag.IntVar(&o.rounds, "rounds", 1, "how often everything is measured")
	flag.Parse()
	for text := range strings.SplitSeq(streams, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 256 {
			return o, fmt.Errorf("--streams %q: give numbers from 1 to 256, separated by commas", streams)
		}
		o.streams = append(o.streams, n)
	}
	if o.prompt < 1 || o.tokens < 2 || o.rounds < 1 {
		return o, errors.New("--prompt and --rounds must be 1 or more, --tokens 2 or more")
	}
	if o.model == "" {
		cache := os.Getenv("DESCANT_CACHE")
		if cache == "" {
			return o, errors.New("give --model, or set DESCANT_CACHE (as make does) to the folder for the model that is made")
		}
		o.model = filepath.Join(cache, "bench", "qwen05b")
		err = hubtest.MakeCheckpoint(o.model, o.tokenizer, hubtest.Qwen05B())
	}
	return o, err
}

func run(ctx context.Context) error {
	o, err := readOptions()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "descant-benchserve-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // the system empties its temporary folder, too
	dev, err := device.Open(o.device)
	if err != nil {
		return err
	}
	defer dev.Close()
	own, err := startEngine(ctx, dev, o, work)
	if err != nil {
		return err
	}
	defer own.close()
	var other *peer
	if o.peer != "" {
		if _, err := exec.LookPath("node"); err != nil {
			fmt.Println("llama.cpp is left out: node is not installed")
		} else if other, err = startPeer(ctx, o, work); err != nil {
			return err
		} else {
			defer other.close()
		}
	}
	results, err := measureAll(ctx, o, own, other)
	if o.out != "" && len(results) > 0 {
		text, jsonErr := json.MarshalIndent(results, "", "  ")
		err = errors.Join(err, jsonErr, os.WriteFile(o.out, append(text, '\n'), 0o644))
	}
	return err
}

func measureAll(ctx context.Context, o options, own *engine, other *peer) (results []result, err error) {
	fmt.Printf("model %s, prompts of %d tokens, answers of %d\n", o.model, o.prompt, o.tokens)
	fmt.Printf("%-12s %-11s %7s %12s %12s %14s %10s\n", "engine", "adapters", "streams", "first token", "slowest", "between tokens", "tokens/s")
	note := func(name string, setup adapters, round, streams int, m measurement, measureErr error) bool {
		if measureErr != nil {
			err = fmt.Errorf("measure %s, %s, %d streams: %w", name, setup.name, streams, measureErr)
			return false
		}
		fmt.Printf("%-12s %-11s %7d %10.0fms %10.0fms %12.1fms %10.1f\n", name, setup.name, streams,
			1000*m.FirstToken, 1000*m.SlowestFirstToken, 1000*m.BetweenTokens, m.TokensPerSecond)
		results = append(results, result{name, setup.name, round, streams, m})
		return true
	}
	for round := range o.rounds {
		for _, setup := range setups {
			for _, streams := range o.streams {
				m, measureErr := own.measure(ctx, streams, setup.count)
				if !note("descant "+o.dtype, setup, round, streams, m, measureErr) {
					return results, err
				}
				if other == nil || setup.count > 1 { // llama.cpp has one adapter for a whole context
					continue
				}
				if m, measureErr = other.measure(streams, setup.count); !note("llama.cpp", setup, round, streams, m, measureErr) {
					return results, err
				}
			}
		}
	}
	return results, nil
}

// measurement is of streams that all begin at the same time. Times are in seconds.
type measurement struct {
	// FirstToken is the mean time to the first token, SlowestFirstToken the largest.
	FirstToken        float64 `json:"first_token"`
	SlowestFirstToken float64 `json:"slowest_first_token"`
	// BetweenTokens is the mean time between two tokens of a stream.
	BetweenTokens float64 `json:"between_tokens"`
	// TokensPerSecond is all tokens by the time until the last stream has ended, prompts included.
	TokensPerSecond float64 `json:"tokens_per_second"`
}

// summarize takes the times of the tokens of every stream.
func summarize(start time.Time, streams [][]time.Time) (m measurement) {
	var last time.Time
	tokens, gaps := 0, 0
	for _, times := range streams {
		first := times[0].Sub(start).Seconds()
		m.FirstToken += first / float64(len(streams))
		m.SlowestFirstToken = max(m.SlowestFirstToken, first)
		end := times[len(times)-1]
		m.BetweenTokens += end.Sub(times[0]).Seconds()
		gaps += len(times) - 1
		tokens += len(times)
		if end.After(last) {
			last = end
		}
	}
	m.BetweenTokens /= float64(gaps)
	m.TokensPerSecond = float64(tokens) / last.Sub(start).Seconds()
	return m
}
