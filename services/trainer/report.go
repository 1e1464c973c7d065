package trainer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/report"
	"descant/pkg/stage"
	"descant/pkg/train"
)

// writeReport lays the run's report, and the event file for TensorBoard where the job wants one, beside the adapter's
// files. An adapter without its report is worth publishing: what goes wrong is a warning.
func (s *Service) writeReport(ctx context.Context, a *stage.Attempt, dir string, run prepared, result *train.Result, manifest *pb.AdapterManifest) error {
	history, err := s.history(ctx, a.ID())
	if err == nil {
		shown := describe(a.Job(), a.Spec, run.rows, result, manifest)
		shown.Points, shown.Evals = history.Points(), history.Evals()
		err = shown.Write(dir)
		if err == nil && a.Spec.Training.ReportTo == job.ReportToTensorBoard {
			started := a.Job().GetStartedAt().AsTime()
			err = shown.WriteEventFile(dir, report.EventFileName(started, a.ID()), started)
		}
	}
	if err != nil {
		return a.Say(ctx, "warn", "the adapter is published without its whole report: "+err.Error())
	}
	return nil
}

// history replays a job's events: they tell of all steps, also of those that another worker did before a checkpoint.
func (s *Service) history(ctx context.Context, id string) (*report.History, error) {
	history := new(report.History)
	for event, err := range s.deps.Bus.Follow(ctx, id, bus.FollowOptions{Past: true}) {
		if err != nil {
			return nil, fmt.Errorf("read the steps of the run: %w", err)
		}
		remember(history, event)
	}
	return history, nil
}

// remember takes what an event says about the curves.
func remember(history *report.History, event *pb.Event) {
	if e := event.GetEvaluation(); e != nil && event.GetType() == bus.EventEval {
		history.AddEval(report.Eval{Step: int(e.GetStep()), Time: event.GetTime().AsTime(), Loss: e.GetLoss()})
	}
	if s := event.GetStep(); s != nil && event.GetType() == bus.EventStep {
		history.Add(report.Point{Step: int(s.GetStep()), Time: event.GetTime().AsTime(), Loss: s.GetLoss(), LR: s.GetLr(),
			GradNorm: s.GetGradNorm(), TokensPerSecond: s.GetTokensPerSecond(), Epoch: s.GetEpoch()})
	}
}

// rows is tokenised data.
type rows interface {
	Len() int
	Row(i int) (ids, labels []int32)
}

// describe is the report without its curves.
func describe(j *pb.Job, spec job.Spec, data rows, result *train.Result, manifest *pb.AdapterManifest) *report.Run {
	length := lengthsOf(data)
	return &report.Run{
		Name: spec.Name, Warnings: j.GetWarnings(),
		Summary: append([]report.Fact{
			fact("final loss", "最终损失", fmt.Sprintf("%.4f", result.FinalLoss)),
			fact("steps", "步数", strconv.Itoa(result.Steps)),
			fact("tokens", "词元", strconv.FormatInt(result.Tokens, 10)),
			fact("tokens/s", "每秒词元数", fmt.Sprintf("%.0f", result.TokensPerSecond)),
			fact("time of the steps", "训练用时", time.Duration(result.Seconds*float64(time.Second)).Round(time.Second/10).String()),
			fact("peak memory", "内存峰值", fmt.Sprintf("%.2f GiB", float64(result.PeakRSS)/(1<<30))),
		}, evalFacts(result.Evaluation)...),
		Sections: []report.Section{
			{Title: report.Text{En: "data", Zh: "数据"}, Facts: append([]report.Fact{
				fact("dataset", "数据集", spec.Dataset),
				fact("rows", "行数", strconv.Itoa(data.Len())),
				fact("rows left out", "略去的行", fmt.Sprint(j.GetArtifacts().GetSkippedRows())),
				fact("tokens a row", "每行词元数", fmt.Sprintf("%d – %d – %d (min, median, max)", length.shortest, length.median, length.longest)),
				fact("trained tokens", "参与训练的词元", fmt.Sprintf("%.1f %%", 100*length.trained)),
			}, leakFacts(j.GetArtifacts().GetLeak())...)},
			{Title: report.Text{En: "lineage", Zh: "来源"}, Facts: []report.Fact{
				fact("job", "任务", j.GetId()),
				fact("base", "基座模型", manifest.GetBase()),
				fact("base digest", "基座摘要", manifest.GetBaseDigest()),
				fact("tokenizer digest", "分词器摘要", manifest.GetTokenizerDigest()),
				fact("template digest", "模板摘要", manifest.GetTemplateDigest()),
				fact("dataset digest", "数据集摘要", manifest.GetDatasetDigest()),
				fact("tokenized digest", "分词结果摘要", manifest.GetTokenizedDigest()),
				fact("trainer", "训练程序", manifest.GetTrainer()),
				fact("device", "计算设备", manifest.GetDevice()),
				fact("dtype", "数值类型", manifest.GetDtype()),
				fact("made", "生成时间", manifest.GetCreatedAt().AsTime().Format(time.RFC3339)),
			}},
			{Title: report.Text{En: "settings", Zh: "设置"}, Facts: settings(spec)},
		},
	}
}

func fact(en, zh, value string) report.Fact {
	return report.Fact{Name: report.Text{En: en, Zh: zh}, Value: value}
}

// evalFacts are what the last evaluation says, or nothing.
func evalFacts(e *train.Evaluation) []report.Fact {
	if e == nil {
		return nil
	}
	return []report.Fact{
		fact("evaluation loss", "评估损失", fmt.Sprintf("%.4f", e.Loss)),
		fact("of the base", "基座评估损失", fmt.Sprintf("%.4f", e.Base)),
		fact("published step", "发布的步", strconv.Itoa(e.Step)),
	}
}

// settings are the hyper-parameters of a spec under their own names, in their order.
func settings(spec job.Spec) (facts []report.Fact) {
	var fields struct {
		Training json.RawMessage `json:"training"`
	}
	if err := json.Unmarshal(spec.Canonical(), &fields); err != nil {
		panic(err) // a canonical spec is JSON
	}
	decoder := json.NewDecoder(bytes.NewReader(fields.Training))
	_, err := decoder.Token() // opens the object
	for err == nil && decoder.More() {
		var name json.Token
		var value json.RawMessage
		if name, err = decoder.Token(); err == nil {
			err = decoder.Decode(&value)
		}
		facts = append(facts, report.Fact{Name: report.Same(fmt.Sprint(name)), Value: strings.Trim(string(value), `"`)})
	}
	return facts
}

// lengths sums up tokenised rows.
type lengths struct {
	shortest, median, longest int
	trained                   float64 // share of the tokens
}

func lengthsOf(data rows) (l lengths) {
	all := make([]int, data.Len())
	tokens, trained := 0, 0
	for i := range all {
		ids, labels := data.Row(i)
		all[i] = len(ids)
		tokens += len(ids)
		for t := 1; t < len(labels); t++ { // nothing predicts the first token
			if labels[t] >= 0 {
				trained++
			}
		}
	}
	if len(all) == 0 || tokens == 0 {
		return l
	}
	slices.Sort(all)
	return lengths{all[0], all[len(all)/2], all[len(all)-1], float64(trained) / float64(tokens)}
}

// leakFacts say how many rows of eval_dataset are in the training rows; none without one.
func leakFacts(leak *pb.Leak) []report.Fact {
	if leak == nil {
		return nil
	}
	return []report.Fact{fact("rows for evaluation that are trained, too", "同时出现在训练集中的评估行",
		fmt.Sprintf("%d / %d", leak.GetLeaked(), leak.GetEvalRows()))}
}
