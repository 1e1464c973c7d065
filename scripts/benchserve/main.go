// Command benchserve measures the inference engine: time to first token, time between tokens and throughput for
// several numbers of streams, with the bare base, one adapter and eight adapters mixed in one batch, alternately with
// peers on the same weights: llama.cpp (float16 and q8_0, installed by npm) and transformers with PEFT (by pip).
// `make bench-serve` runs it.
//
//	benchserve --cache FOLDER [--model FOLDER] [--dtype bf16] [--streams 1,4,8,16,32] [--peers llama.cpp-f16,…]
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
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"descant/pkg/device"
	"descant/pkg/generate"
	"descant/pkg/hub/hubtest"
)

// options are the flags.
type options struct {
	cache, model, tokenizer, device, dtype, loraDType, out string
	peers                                                  []string
	streams                                                []int
	prompt, tokens, rounds                                 int
}

// adapters says how many different ones the streams have.
type adapters struct {
	name  string
	count int
}

var setups = []adapters{{"base", 0}, {"1 adapter", 1}, {"8 adapters", slots}}

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
	var streams, peers string
	flag.StringVar(&o.cache, "cache", "", "folder that keeps the peers and the model that is made")
	flag.StringVar(&o.model, "model", "", "model folder; made when not given")
	flag.StringVar(&o.tokenizer, "tokenizer", "models/tiny", "folder of the tokenizer that a made model gets")
	flag.StringVar(&o.device, "device", "", "device (auto, xla, cuda, go)")
	flag.StringVar(&o.dtype, "dtype", generate.F32, "f32 or bf16")
	flag.StringVar(&o.loraDType, "lora-dtype", "", "what descant's adapters are held in: f32 or bf16; that of --dtype when not given")
	flag.StringVar(&peers, "peers", strings.Join(allPeers(), ","), "engines to compare with; empty measures descant alone")
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
	for name := range strings.SplitSeq(peers, ",") {
		switch {
		case name == "":
		case !slices.Contains(allPeers(), name):
			return o, fmt.Errorf("--peers %q: give some of %s", name, strings.Join(allPeers(), ", "))
		default:
			o.peers = append(o.peers, name)
		}
	}
	if o.cache == "" {
		return o, errors.New("--cache is needed: the folder that keeps the peers and the model that is made")
	}
	if o.model == "" {
		o.model = filepath.Join(o.cache, "bench", "qwen05b")
		err = hubtest.MakeCheckpoint(o.model, o.tokenizer, hubtest.Qwen05B())
	}
	return o, err
}

// allPeers are the engines that descant is compared with.
func allPeers() []string { return []string{"llama.cpp-f16", "llama.cpp-q8_0", "transformers"} }

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
	peers, err := startPeers(ctx, o, work)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	results, err := measureAll(ctx, o, own, peers)
	if o.out != "" && len(results) > 0 {
		text, jsonErr := json.MarshalIndent(results, "", "  ")
		err = errors.Join(err, jsonErr, os.WriteFile(o.out, append(text, '\n'), 0o644))
	}
	return err
}

func measureAll(ctx context.Context, o options, own *engine, peers []*peer) (results []result, err error) {
	fmt.Printf("model %s, prompts of %d tokens, answers of %d\n", o.model, o.prompt, o.tokens)
	fmt.Printf("%-14s %-11s %7s %12s %12s %14s %10s %11s\n", "engine", "adapters", "streams", "first token", "slowest", "between tokens", "tokens/s", "answering")
	note := func(name string, setup adapters, round, streams int, m measurement, measureErr error) bool {
		if measureErr != nil {
			err = fmt.Errorf("measure %s, %s, %d streams: %w", name, setup.name, streams, measureErr)
			return false
		}
		fmt.Printf("%-14s %-11s %7d %10.0fms %10.0fms %12.1fms %10.1f %11s\n", name, setup.name, streams,
			1000*m.FirstToken, 1000*m.SlowestFirstToken, 1000*m.BetweenTokens, m.TokensPerSecond, m.answering())
		results = append(results, result{name, setup.name, round, streams, m})
		return true
	}
	// A peer loads its model while it starts: whatever is measured before its first answer is measured beside that.
	for _, p := range peers {
		if _, err := p.measure(1, 0); err != nil {
			return nil, fmt.Errorf("wait for %s: %w", p.name, err)
		}
	}
	for round := range o.rounds {
		for _, setup := range setups {
			for _, streams := range o.streams {
				m, measureErr := own.measure(ctx, streams, setup.count)
				if !note("descant "+o.dtype, setup, round, streams, m, measureErr) {
					return results, err
				}
				for _, p := range peers {
					if setup.count > p.adapters {
						continue
					}
					if m, measureErr = p.measure(streams, setup.count); !note(p.name, setup, round, streams, m, measureErr) {
						return results, err
					}
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
	// Answering is the tokens per second while all streams answer: from the time when the last prompt was read until the first stream has
	// ended. It is 0 where the first stream ends before the last one begins.
	Answering float64 `json:"answering"`
}

// answering is m.Answering for the table.
func (m measurement) answering() string {
	if m.Answering == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", m.Answering)
}

// summarize takes the times of the tokens of every stream.
func summarize(start time.Time, streams [][]time.Time) (m measurement) {
	var last time.Time
	all, oneEnds := start, streams[0][len(streams[0])-1] // when all streams answer, and when one has ended
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
		if end.Before(oneEnds) {
			oneEnds = end
		}
		if times[0].After(all) {
			all = times[0]
		}
	}
	answered := 0
	for _, times := range streams {
		for _, at := range times {
			if at.After(all) && !at.After(oneEnds) {
				answered++
			}
		}
	}
	if answered > 0 {
		m.Answering = float64(answered) / oneEnds.Sub(all).Seconds()
	}
	m.BetweenTokens /= float64(gaps)
	m.TokensPerSecond = float64(tokens) / last.Sub(start).Seconds()
	return m
}
