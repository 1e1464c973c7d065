package job

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Training holds every hyper-parameter of a run under the names of PEFT and TRL. It is the one
// place where they are written: requests, YAML, flags, the spec and the trainer all use it.
type Training struct {
	Method        string        `json:"method" yaml:"method" help:"what is trained: lora (an adapter) or full (all weights of the base)"`
	R             int           `json:"r" yaml:"r" help:"rank of the LoRA matrices"`
	LoraAlpha     float64       `json:"lora_alpha" yaml:"lora_alpha" help:"LoRA scaling: the adapter's output is multiplied by lora_alpha / r"`
	TargetModules TargetModules `json:"target_modules" yaml:"target_modules" help:"linear layers that get an adapter: all-linear, names such as q_proj,v_proj, or a regular expression for whole module names"`
	LoraDropout   float64       `json:"lora_dropout" yaml:"lora_dropout" help:"probability with which an input of the adapter is dropped in training"`
	UseRSLora     bool          `json:"use_rslora" yaml:"use_rslora" help:"scale by lora_alpha / sqrt(r) instead of lora_alpha / r"`

	RankPattern       Patterns    `json:"rank_pattern" yaml:"rank_pattern" help:"ranks of single modules by a regular expression: down_proj=4,layers.0.self_attn.q_proj=16"`
	AlphaPattern      Patterns    `json:"alpha_pattern" yaml:"alpha_pattern" help:"lora_alpha of single modules, written as in rank_pattern"`
	LayersToTransform LayerList   `json:"layers_to_transform" yaml:"layers_to_transform" help:"decoder layers that get an adapter, counted from 0; empty means all"`
	InitLoraWeights   InitWeights `json:"init_lora_weights" yaml:"init_lora_weights" help:"how A begins: true (PEFT's default) or gaussian; B begins as zero"`
	InitFrom          string      `json:"init_from" yaml:"init_from" help:"published adapter to go on from: name, name@3, name@alias or name@sha256:<hex>"`

	LearningRate      float64         `json:"learning_rate" yaml:"learning_rate" help:"peak learning rate of AdamW"`
	LRSchedulerType   string          `json:"lr_scheduler_type" yaml:"lr_scheduler_type" help:"how the learning rate goes: linear, cosine, cosine_with_min_lr, constant (no warmup), constant_with_warmup or warmup_stable_decay"`
	LRSchedulerKwargs SchedulerKwargs `json:"lr_scheduler_kwargs" yaml:"lr_scheduler_kwargs" help:"further settings of the schedule, such as min_lr_rate=0.1 or num_decay_steps=20"`
	WarmupRatio       float64         `json:"warmup_ratio" yaml:"warmup_ratio" help:"share of all steps over which the learning rate rises from 0"`
	WarmupSteps       int             `json:"warmup_steps" yaml:"warmup_steps" help:"warmup in steps; above 0 it replaces warmup_ratio"`
	WeightDecay       float64         `json:"weight_decay" yaml:"weight_decay" help:"decoupled weight decay of AdamW"`
	AdamBeta1         float64         `json:"adam_beta1" yaml:"adam_beta1" help:"decay of AdamW's first moment"`
	AdamBeta2         float64         `json:"adam_beta2" yaml:"adam_beta2" help:"decay of AdamW's second moment"`
	AdamEpsilon       float64         `json:"adam_epsilon" yaml:"adam_epsilon" help:"term that keeps AdamW's division finite"`
	MaxGradNorm       float64         `json:"max_grad_norm" yaml:"max_grad_norm" help:"global norm to which gradients are clipped; 0 turns clipping off"`

	LoraPlusLRRatio float64 `json:"loraplus_lr_ratio" yaml:"loraplus_lr_ratio" help:"LoRA+: B matrices learn at learning_rate times this; 0 or 1 means like A"`
	Packing         bool    `json:"packing" yaml:"packing" help:"put several rows into one of max_length tokens, each blind to the others"`
	NEFTuneAlpha    float64 `json:"neftune_noise_alpha" yaml:"neftune_noise_alpha" help:"NEFTune: strength of the noise on the embeddings in training; 0 turns it off"`

	MaxSteps                  int     `json:"max_steps" yaml:"max_steps" help:"number of optimizer steps; 0 means: by num_train_epochs"`
	NumTrainEpochs            float64 `json:"num_train_epochs" yaml:"num_train_epochs" help:"passes over the dataset, used when max_steps is 0"`
	PerDeviceTrainBatchSize   int     `json:"per_device_train_batch_size" yaml:"per_device_train_batch_size" help:"rows in a micro-batch"`
	GradientAccumulationSteps int     `json:"gradient_accumulation_steps" yaml:"gradient_accumulation_steps" help:"micro-batches in an optimizer step"`
	MaxLength                 int     `json:"max_length" yaml:"max_length" help:"longest row in tokens; truncation_mode says what happens to longer ones"`
	LossOn                    string  `json:"loss_on" yaml:"loss_on" help:"tokens that are trained: full (the whole row), completion (answers only) or last_turn (the last answer)"`
	Seed                      int64   `json:"seed" yaml:"seed" help:"seed of initialisation, row order and dropout"`

	ValSize                float64 `json:"val_size" yaml:"val_size" help:"rows of the dataset that are kept for evaluation: a share below 1 or a number of rows; 0 means none"`
	EvalSteps              int     `json:"eval_steps" yaml:"eval_steps" help:"an evaluation every so many steps; 0 means only at the start and the end"`
	PerDeviceEvalBatchSize int     `json:"per_device_eval_batch_size" yaml:"per_device_eval_batch_size" help:"rows that are evaluated together; 0 means per_device_train_batch_size"`
	EarlyStoppingPatience  int     `json:"early_stopping_patience" yaml:"early_stopping_patience" help:"evaluations without improvement after which training ends; 0 turns it off"`
	EarlyStoppingThreshold float64 `json:"early_stopping_threshold" yaml:"early_stopping_threshold" help:"by how much the loss must fall to count as an improvement"`
	LoadBestModelAtEnd     bool    `json:"load_best_model_at_end" yaml:"load_best_model_at_end" help:"publish the parameters of the best evaluation instead of the last ones"`

	LoggingSteps int    `json:"logging_steps" yaml:"logging_steps" help:"a step event every so many steps"`
	SaveSteps    int    `json:"save_steps" yaml:"save_steps" help:"a checkpoint every so many steps; 0: none by steps"`
	DType        string `json:"dtype" yaml:"dtype" help:"arithmetic of the frozen base: f32, bf16 (faster where the processor has bf16 instructions) or auto, which is f32"`

	ReportTo string `json:"report_to" yaml:"report_to" help:"where the curves go beside report.html: none, or tensorboard (event files with the adapter)"`

	Data `yaml:",inline"`

	SaveMinutes    float64 `json:"save_minutes" yaml:"save_minutes" help:"a checkpoint when the last one is so many minutes old; 0: none by time"`
	SaveTotalLimit int     `json:"save_total_limit" yaml:"save_total_limit" help:"checkpoints that are kept while the job runs; 0: as many as the trainer's keep_checkpoints says"`

	GradientCheckpointing bool `json:"gradient_checkpointing" yaml:"gradient_checkpointing" help:"keep only every layer's input for the backward pass and compute the rest again: less memory, more time, the same numbers"`
}

// Values of the hyper-parameters that are one of a few words.
const (
	MethodLora = "lora"
	MethodFull = "full"

	LossOnFull       = "full"
	LossOnCompletion = "completion"

	DTypeAuto = "auto"
	DTypeF32  = "f32"
	DTypeBF16 = "bf16"

	ReportToNone        = "none"
	ReportToTensorBoard = "tensorboard"
)

// Bounds that keep a request from asking for what no machine has.
const (
	maxRank   = 1024
	maxLength = 131072
	maxSteps  = 10_000_000
	maxBatch  = 4096
	maxSaved  = 100 // checkpoints of one job
	smallest  = math.SmallestNonzeroFloat64
)

// DefaultTraining returns the values that hold for every field a request leaves out.
func DefaultTraining() Training {
	return Training{
		Method:        MethodLora,
		R:             8,
		LoraAlpha:     16,
		TargetModules: TargetModules{AllLinear},

		InitLoraWeights: InitDefault,

		LearningRate:    2e-4,
		LRSchedulerType: SchedulerCosine,
		WarmupRatio:     0.03,
		AdamBeta1:       0.9,
		AdamBeta2:       0.999,
		AdamEpsilon:     1e-8,
		MaxGradNorm:     1,

		MaxSteps:                  50,
		PerDeviceTrainBatchSize:   1,
		GradientAccumulationSteps: 4,
		MaxLength:                 1024,
		LossOn:                    LossOnFull,
		Seed:                      42,

		LoggingSteps: 1,
		SaveSteps:    50,
		DType:        DTypeAuto,

		ReportTo: ReportToNone,

		Data: Data{TruncationMode: KeepStart},

		SaveMinutes: 10,
	}
}

// Validate returns every problem of the hyper-parameters, or nil.
func (t Training) Validate() []Problem {
	var c checker
	c.oneOf("method", t.Method, MethodLora, MethodFull)
	c.lora(t)

	c.floatRange("learning_rate", t.LearningRate, smallest, 10, "above 0 and at most 10")
	c.schedule(t)
	c.floatRange("weight_decay", t.WeightDecay, 0, 10, "between 0 and 10")
	c.floatRange("adam_beta1", t.AdamBeta1, 0, 1-1e-9, "at least 0 and below 1")
	c.floatRange("adam_beta2", t.AdamBeta2, 0, 1-1e-9, "at least 0 and below 1")
	c.floatRange("adam_epsilon", t.AdamEpsilon, smallest, 1, "above 0 and at most 1")
	c.floatRange("max_grad_norm", t.MaxGradNorm, 0, 1e9, "0 (off) or above")
	c.floatRange("loraplus_lr_ratio", t.LoraPlusLRRatio, 0, 1e6, "0 (off) or above, usually 2 to 32")
	if t.Method == MethodFull && t.LoraPlusLRRatio > 0 {
		c.add("loraplus_lr_ratio", formatFloat(t.LoraPlusLRRatio), "means nothing for method full, which has no B matrices", "remove it")
	}
	c.floatRange("neftune_noise_alpha", t.NEFTuneAlpha, 0, 1e6, "0 (off) or above, usually 5 to 15")

	c.intRange("max_steps", t.MaxSteps, 0, maxSteps)
	c.floatRange("num_train_epochs", t.NumTrainEpochs, 0, 1e6, "between 0 and 1000000")
	if t.MaxSteps == 0 && t.NumTrainEpochs == 0 {
		c.add("max_steps", "0", "the run has no end", "set max_steps or num_train_epochs above 0")
	}
	if t.MaxSteps > 0 && t.NumTrainEpochs > 0 {
		c.add("num_train_epochs", formatFloat(t.NumTrainEpochs), fmt.Sprintf("max_steps is %d, so this would have no effect", t.MaxSteps), "set only one of the two")
	}
	c.intRange("per_device_train_batch_size", t.PerDeviceTrainBatchSize, 1, maxBatch)
	c.intRange("gradient_accumulation_steps", t.GradientAccumulationSteps, 1, maxBatch)
	c.intRange("max_length", t.MaxLength, 8, maxLength)
	c.oneOf("loss_on", t.LossOn, LossOnFull, LossOnCompletion, LossOnLastTurn)
	c.data(t.Data)
	if t.Seed < 0 {
		c.add("seed", strconv.FormatInt(t.Seed, 10), "must not be negative", "use any whole number from 0")
	}
	c.evaluation(t)
	c.intRange("logging_steps", t.LoggingSteps, 1, maxSteps)
	c.intRange("save_steps", t.SaveSteps, 0, maxSteps)
	c.floatRange("save_minutes", t.SaveMinutes, 0, 1e6, "between 0 and 1000000")
	c.intRange("save_total_limit", t.SaveTotalLimit, 0, maxSaved)
	c.oneOf("dtype", t.DType, DTypeAuto, DTypeF32, DTypeBF16)
	if t.Method == MethodFull && t.DType == DTypeBF16 {
		c.add("dtype", strconv.Quote(t.DType), "is for weights that are not trained; method full trains them all, in f32", "use f32 or auto, or method lora")
	}
	c.oneOf("report_to", t.ReportTo, ReportToNone, ReportToTensorBoard)
	return c.problems
}

// checker collects the problems of a struct's fields.
type checker struct{ problems []Problem }

func (c *checker) add(field, found, reason, next string) {
	c.problems = append(c.problems, Problem{Field: field, Found: found, Reason: reason, Next: next})
}

func (c *checker) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.add(field, strconv.Quote(shorten(value)), "is not a known value", "use "+orList(allowed))
	}
}

func (c *checker) intRange(field string, value, low, high int) {
	if value < low || value > high {
		c.add(field, strconv.Itoa(value), "is out of range", fmt.Sprintf("use a whole number from %d to %d", low, high))
	}
}

// floatRange refuses NaN too, as no comparison with it holds.
func (c *checker) floatRange(field string, value, low, high float64, words string) {
	if !(value >= low && value <= high) {
		c.add(field, formatFloat(value), "is out of range", "use a number "+words)
	}
}
