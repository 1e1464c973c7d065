package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/dataset"
	"descant/pkg/device"
	"descant/pkg/hub"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/train"
	"descant/services/tokenizer"
)

// evalOptions are the flags of `descant eval`.
type evalOptions struct {
	dataset, output                  string
	adapters                         []string
	maxRows, limitAnswers, maxTokens int
	// rows are the options of a training that concern rows, and the base.
	rows *rowFlags
}

func (a *app) evalCommand() *cobra.Command {
	var o evalOptions
	cmd := a.command(&cobra.Command{
		Use: "eval", Short: "Compare a base and adapters on rows: loss, perplexity, exact match, answers side by side",
		Long: `Compare a base and any number of adapters on the rows of a dataset. The rows are read, cut and labelled
by the options of a training; the loss is that of the answers alone unless --loss-on says otherwise, by the
arithmetic of training. Then each model answers some of the rows itself, always taking the likeliest token, and
its answers stand beside that of the dataset.`,
		Example: `  descant eval --adapter out/ --dataset heldout.jsonl
  descant eval --adapter my-adapter@2 --adapter my-adapter@3 --dataset heldout.jsonl --output answers.jsonl
  descant eval --model builtin:tiny --dataset builtin:sample --limit-answers 0 --json`,
	}, "device log hub bus blob embedded", func(ctx context.Context, _ []string) error {
		if err := o.rows.loadWith("this cannot be evaluated", o.problems()); err != nil {
			return err
		}
		ctx, _, release := lifecycle.Signals(ctx)
		defer release()
		err := a.eval(ctx, o)
		if errors.Is(err, lifecycle.ErrStopping) || errors.Is(err, context.Canceled) {
			return interrupted("stopped; nothing was written")
		}
		return err
	})
	o.rows = bindRows(cmd, "", job.LossOnCompletion)
	f := cmd.Flags()
	f.Lookup("model").Usage = "base model (default: the one that the adapters name, else " + defaultModel + ")"
	f.StringArrayVar(&o.adapters, "adapter", nil, "folder of an adapter, or a published one as name or name@version; may be repeated")
	f.StringVar(&o.dataset, "dataset", dataset.SampleName, "file of rows, builtin:sample, or the name of a pushed dataset")
	f.StringVar(&o.output, "output", "", "file for the answers and losses of every row, as JSON Lines")
	f.IntVar(&o.maxRows, "max-rows", 0, "most rows to look at; 0 means all")
	f.IntVar(&o.limitAnswers, "limit-answers", 20, "rows that every model answers itself; -1 means all, 0 none")
	f.IntVar(&o.maxTokens, "max-tokens", 256, "longest answer in tokens")
	return cmd
}

// problems are those of the flags that no training has.
func (o evalOptions) problems() (problems []job.Problem) {
	least := func(field string, value, low int) {
		if value < low {
			problems = append(problems, job.Problem{Field: field, Found: fmt.Sprint(value), Reason: "is out of range", Next: fmt.Sprintf("use a whole number from %d", low)})
		}
	}
	least("max_rows", o.maxRows, 0)
	least("limit_answers", o.limitAnswers, -1)
	least("max_tokens", o.maxTokens, 1)
	return problems
}

// evaluation is one `descant eval`.
type evaluation struct {
	app    *app
	o      evalOptions
	base   *hub.Snapshot
	text   *tokenizer.Encoder
	rows   *evalRows
	device *device.Device
	models []*evaluated
	result evalResult
}

// evaluated is a model that is looked at: the base, or the base with an adapter.
type evaluated struct {
	Name string `json:"name"`
	// Loss is the mean over the tokens that loss_on names, in nats; Perplexity is its exponential.
	Loss       float64 `json:"loss"`
	Perplexity float64 `json:"perplexity"`
	// Answered rows have an answer of the model, Exact of them are equal to the dataset's but for space around it, and Cut
	// of them were stopped at max_tokens.
	Answered int     `json:"answered"`
	Exact    int     `json:"exact_match"`
	Cut      int     `json:"cut"`
	Seconds  float64 `json:"seconds"` // of the loss

	dir    string // adapter, "" for the base
	losses []train.RowLoss
}

// evalResult is what the command reports.
type evalResult struct {
	Base       string       `json:"base"`
	BaseDigest string       `json:"base_digest"`
	Dataset    string       `json:"dataset"`
	Rows       int          `json:"rows"`
	LossOn     string       `json:"loss_on"`
	Tokens     int          `json:"answer_tokens"` // that the loss is of: those of answers, unless loss_on names others
	LeftOut    int          `json:"left_out"`      // rows of the dataset with an empty question or answer
	Truncated  int          `json:"truncated"`     // rows that were cut to max_length
	Dropped    int          `json:"dropped"`       // rows that truncation_mode drop leaves out
	NotLabeled int          `json:"no_answer"`     // rows of whose answer nothing is left within max_length
	Texts      int          `json:"plain_texts"`   // rows that have a loss and no question to answer
	Models     []*evaluated `json:"models"`
	Answers    []evalAnswer `json:"answers"`
}

func (a *app) eval(ctx context.Context, o evalOptions) error {
	e := &evaluation{app: a, o: o}
	work, err := os.MkdirTemp("", "descant-eval-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a private folder in the system's own temporary one
	if err := e.find(ctx, work); err != nil {
		return err
	}
	if e.text, err = a.openEncoder(ctx, e.base.Dir); err != nil {
		return err
	}
	defer e.text.Close()
	if e.rows, err = e.readRows(ctx, work); err != nil {
		return err
	}
	e.result.Rows, e.result.LeftOut = e.rows.Len(), e.rows.report.LeftOut.Count
	if e.device, err = device.Open(a.cfg.Device); err != nil {
		return err
	}
	defer e.device.Close()
	if err := e.losses(ctx); err != nil {
		return err
	}
	if err := e.answers(ctx); err != nil {
		return err
	}
	if o.output != "" {
		if err := e.write(o.output); err != nil {
			return err
		}
	}
	return a.print(e.result, e.show)
}

// find brings the base and the adapters here. All adapters must be of one base.
func (e *evaluation) find(ctx context.Context, work string) (err error) {
	e.models = []*evaluated{{Name: "base"}}
	for _, ref := range e.o.adapters {
		source, err := e.app.adapterAt(ctx, ref, e.o.rows.Model, filepath.Join(work, "adapters"))
		if err != nil {
			return err
		}
		if e.base != nil && source.base.Digest != e.base.Digest {
			return job.UserError(job.CodeBadModel, fmt.Sprintf("%s and %s are adapters of different bases (%s and %s)", e.models[1].Name, source.name, e.result.Base, source.baseName),
				"compare them in separate runs, or name the base that fits all of them with --model")
		}
		e.base, e.result.Base = source.base, source.baseName
		e.models = append(e.models, &evaluated{Name: source.name, dir: source.dir})
	}
	if e.base == nil {
		if e.result.Base, e.base, err = e.app.base(ctx, firstOf(e.o.rows.Model, defaultModel)); err != nil {
			return err
		}
	}
	e.result.BaseDigest, e.result.Models, e.result.Dataset, e.result.LossOn = e.base.Digest, e.models, e.o.dataset, e.o.rows.LossOn
	return nil
}

// losses measures every model on every row.
func (e *evaluation) losses(ctx context.Context) error {
	evaluator, err := train.NewEvaluator(e.device, e.base.Dir)
	if err != nil {
		return err
	}
	defer evaluator.Close()
	show := e.app.newCounter("loss", "rows", e.rows.Len()*len(e.models))
	defer show.end()
	for _, m := range e.models {
		begin := time.Now()
		if m.losses, err = evaluator.Losses(ctx, m.dir, e.rows, show.add); err != nil {
			return err
		}
		total := train.RowLoss{}
		for _, l := range m.losses {
			total.NLL, total.Tokens = total.NLL+l.NLL, total.Tokens+l.Tokens
			if m == e.models[0] && l.Tokens == 0 {
				e.result.NotLabeled++
			}
		}
		if total.Tokens == 0 {
			return job.UserError(job.CodeBadDataset, "no row has a token with a loss within max_length", "raise --max-length, choose another --loss-on, or use other rows")
		}
		m.Loss = total.NLL / float64(total.Tokens)
		m.Perplexity, m.Seconds, e.result.Tokens = math.Exp(m.Loss), time.Since(begin).Seconds(), total.Tokens
	}
	return nil
}
