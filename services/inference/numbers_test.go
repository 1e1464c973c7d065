package inference

import (
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"descant/pkg/chat"
	"descant/pkg/device"
	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/train"
)

const whichNumber = "Which number are you?"

// number is an adapter that was trained to answer the question with its number.
type number struct {
	dir, answer string
	probe       *pb.Probe
}

const (
	// numberRank is the rank of the numbers.
	numberRank = 2
	// trainTries is with how many seeds a number is trained until it is right; numbers such as 771 come out as 777 at times.
	trainTries = 3
)

// trainNumbers trains adapters on the tiny base, 0 to n−1, and asks each of them. A row and 16 steps on all linear layers
// are enough; the pure-Go backend compiles nothing, so that each takes less than a second.
func trainNumbers(t *testing.T, n int) []number {
	t.Helper()
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	text := tinyLanguage(t)
	e, err := generate.New(dev, tinyDir, generate.Options{MaxContext: 64, MaxRows: 1, Slots: 2, MaxRank: numberRank, UsedVocab: text.tokenizer.VocabSize()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	numbers, began := make([]number, n), time.Now()
	var runs atomic.Int64
	var workers sync.WaitGroup
	defer workers.Wait()
	next := make(chan int)
	for range 2 {
		workers.Go(func() {
			for i := range next {
				got := ""
				for seed := int64(1); seed <= trainTries && got != strconv.Itoa(i); seed++ {
					numbers[i] = trainNumber(t, dev, text, i, seed)
					got = askNumber(t, e, text, numbers[i])
					runs.Add(1)
				}
				if got != numbers[i].answer {
					t.Errorf("adapter %d answers %q right after its training", i, got)
				}
			}
		})
	}
	for i := 0; i < n && !t.Failed(); i++ {
		next <- i
	}
	close(next)
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Logf("%d adapters trained and asked in %s, in %d runs", n, time.Since(began).Round(time.Second), runs.Load())
	return numbers
}

// trainNumber trains one adapter to answer n.
func trainNumber(t *testing.T, dev *device.Device, text *language, n int, seed int64) number {
	t.Helper()
	answer := strconv.Itoa(n)
	row, err := text.tokenizer.EncodeInput(text.template, chat.Input{Messages: []chat.Message{chat.NewMessage("user", whichNumber), chat.NewMessage("assistant", answer)}})
	if err != nil {
		t.Error(err)
		return number{}
	}
	labels := make([]int32, len(row.IDs))
	for i, id := range row.IDs {
		if labels[i] = -100; row.Trained[i] {
			labels[i] = id
		}
	}
	training := job.DefaultTraining()
	training.R, training.LoraAlpha = numberRank, 2*numberRank
	training.MaxSteps, training.LearningRate, training.MaxLength, training.Seed = 16, 2e-2, 64, seed
	training.PerDeviceTrainBatchSize, training.GradientAccumulationSteps = 1, 1
	training.SaveSteps, training.SaveMinutes, training.LossOn = 0, 0, job.LossOnCompletion
	done, err := train.Run(t.Context(), train.Config{Device: dev, BaseDir: tinyDir, BaseName: "builtin:tiny", Training: training,
		Rows: oneRow{row.IDs, labels}, Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Errorf("train adapter %d: %v", n, err)
		return number{}
	}
	p := done.Probe
	return number{dir: done.AdapterDir, answer: answer,
		probe: &pb.Probe{Prompt: p.Prompt, Ids: p.IDs, Logits: p.Logits, BaseLogits: p.Base, Dtype: done.DType}}
}

// askNumber has an engine answer the question with an adapter.
func askNumber(t *testing.T, e *generate.Engine, text *language, one number) string {
	t.Helper()
	prompt, err := text.prompt([]chat.Message{chat.NewMessage("user", whichNumber)}, nil)
	if err == nil && one.dir != "" {
		err = e.LoadAdapter(t.Context(), one.dir, one.dir)
	}
	if err != nil {
		t.Error(err)
		return ""
	}
	defer e.UnloadAdapter(one.dir)
	var ids []int32
	_, err = e.Generate(t.Context(), generate.Request{Adapter: one.dir, Prompt: prompt, MaxTokens: 8, StopIDs: text.tokenizer.EOS()},
		func(token generate.Token) error { ids = append(ids, token.ID); return nil })
	if err != nil {
		t.Errorf("adapter %s: %v", one.answer, err)
	}
	return text.tokenizer.Decode(ids, true)
}

// oneRow is a dataset of one row.
type oneRow struct{ ids, labels []int32 }

func (oneRow) Len() int { return 1 }

func (r oneRow) Row(int) (ids, labels []int32) { return r.ids, r.labels }

func (oneRow) Order(int64, int) []int { return []int{0} }
