package systemtest_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"descant/cmd/descant/systemtest"
	"descant/pkg/embedded/servertest"
)

// TestSDKs drives the HTTP API of one process with OpenAI's own SDKs. All that they send and get passes a proxy that
// holds the answers against openapi.yaml.
func TestSDKs(t *testing.T) {
	t.Parallel()
	cache := systemtest.SDKs(t)
	address, health := servertest.FreeAddress(t), servertest.FreeAddress(t)
	systemtest.Start(t, systemtest.Command{Name: "descant up", Args: []string{"up", "--dir", t.TempDir(), "--nats-addr", "127.0.0.1:0", "--s3-addr", "127.0.0.1:0",
		"--http-addr", health, "--gateway-addr", address, "--inference-model", "builtin:tiny", "--inference-max-tokens", strconv.Itoa(systemtestTokens)},
		Env: []string{"DESCANT_DEVICE=go", "DESCANT_HUB_OFFLINE=true"}, Ready: "http://" + health + "/readyz"})
	url := systemtest.CheckAPI(t, "http://"+address)

	t.Run("go", func(t *testing.T) { goSDK(t, url) })
	t.Run("tools", func(t *testing.T) { toolSDKs(t, cache) })
	python := filepath.Join(cache, "sdk", "python", "venv", "bin")
	t.Run("python", func(t *testing.T) { script(t, filepath.Join(python, "python"), "sdk/flow.py", url, "builtin:tiny") })
	t.Run("guide", func(t *testing.T) {
		script(t, filepath.Join(python, "python"), "sdk/guide.py", url, "builtin:tiny")
	})
	t.Run("node", func(t *testing.T) {
		script(t, "node", "sdk/flow.mjs", url, "builtin:tiny", filepath.Join(cache, "sdk", "node"))
	})
	// The last, as the jobs that it makes go on.
	t.Run("schemathesis", func(t *testing.T) { schemathesis(t, filepath.Join(python, "schemathesis"), url) })
}

// script runs a program in a folder of its own: schemathesis leaves its notes there.
func script(t *testing.T, program string, args ...string) {
	t.Helper()
	if strings.HasPrefix(args[0], "sdk/") {
		path, err := filepath.Abs(args[0])
		if err != nil {
			t.Fatal(err)
		}
		args[0] = path
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*systemtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(systemtest.Environment(), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1")
	cmd.Dir, cmd.WaitDelay = t.TempDir(), time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(program), args[0], err, out)
	}
}

// goSDK goes from a file to an answer, and meets what can go wrong.
func goSDK(t *testing.T, url string) {
	ctx := t.Context()
	client := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0))
	path := filepath.Join(t.TempDir(), "go.jsonl")
	if err := os.WriteFile(path, []byte(strings.Repeat(`{"instruction":"go","output":"yes"}`+"\n", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	file, err := client.Files.New(ctx, openai.FileNewParams{File: in, Purpose: openai.FilePurposeFineTune})
	if err != nil || file.Filename != "go.jsonl" {
		t.Fatalf("upload: %+v, %v", file, err)
	}
	job, err := client.FineTuning.Jobs.New(ctx, openai.FineTuningJobNewParams{Model: "builtin:tiny", TrainingFile: file.ID, Suffix: openai.String("go-sdk")},
		option.WithJSONSet("r", 2), option.WithJSONSet("max_steps", 3), option.WithJSONSet("target_modules", []string{"q_proj"}))
	if err != nil {
		t.Fatal(err)
	}
	job = waitForJob(t, client, job.ID)
	if job.Status != openai.FineTuningJobStatusSucceeded || job.FineTunedModel != "go-sdk@1" {
		t.Fatalf("job: %s", job.RawJSON())
	}
	metrics := 0
	for events := client.FineTuning.Jobs.ListEventsAutoPaging(ctx, job.ID, openai.FineTuningJobListEventsParams{Limit: openai.Int(2)}); events.Next(); {
		if events.Current().Type == "metrics" {
			metrics++
		}
	}
	if metrics < 3 {
		t.Errorf("%d events with numbers, want one of each of 3 steps", metrics)
	}
	goChat(t, client, job.FineTunedModel)
	goRetry(t, url)
	var refused *openai.Error
	if _, err := client.Models.Get(ctx, "nobody"); !errors.As(err, &refused) || refused.StatusCode != http.StatusNotFound || refused.Code != "model_not_found" || refused.Param != "model" {
		t.Errorf("an unknown model: %v", err)
	}
	if _, err := client.FineTuning.Jobs.Cancel(ctx, job.ID); !errors.As(err, &refused) || refused.StatusCode != http.StatusBadRequest {
		t.Errorf("cancelling a job that has ended: %v", err)
	}
}

func waitForJob(t *testing.T, client openai.Client, id string) *openai.FineTuningJob {
	t.Helper()
	for end := time.Now().Add(systemtest.Patience); ; {
		job, err := client.FineTuning.Jobs.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		switch job.Status {
		case openai.FineTuningJobStatusSucceeded, openai.FineTuningJobStatusFailed, openai.FineTuningJobStatusCancelled:
			return job
		}
		if time.Now().After(end) {
			t.Fatalf("job does not end: %s", job.RawJSON())
		}
		time.Sleep(50 * time.Millisecond) // a job is polled, as users of the SDK do
	}
}

// goRetry loses the first answer to a job's request: the SDK asks again, and there is one job.
func goRetry(t *testing.T, url string) {
	t.Helper()
	asked := 0
	client := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("none"), option.WithMaxRetries(2),
		option.WithMiddleware(func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
			answer, err := next(r)
			if asked++; asked > 1 || err != nil {
				return answer, err
			}
			return nil, errors.Join(errors.New("the answer got lost"), answer.Body.Close())
		}))
	job, err := client.FineTuning.Jobs.New(t.Context(), openai.FineTuningJobNewParams{Model: "builtin:tiny", TrainingFile: "builtin:sample",
		Suffix: openai.String("go-retry"), Metadata: map[string]string{"sdk": "go-retry"}}, option.WithJSONSet("max_steps", 100000))
	if err != nil || asked != 2 {
		t.Fatalf("asked %d times: %v", asked, err)
	}
	var made []string
	for jobs := client.FineTuning.Jobs.ListAutoPaging(t.Context(), openai.FineTuningJobListParams{Metadata: map[string]string{"sdk": "go-retry"}}); jobs.Next(); {
		made = append(made, jobs.Current().ID)
	}
	if len(made) != 1 || made[0] != job.ID {
		t.Errorf("jobs %v, want %s alone", made, job.ID)
	}
	if job, err = client.FineTuning.Jobs.Cancel(t.Context(), job.ID); err != nil || job.Status != openai.FineTuningJobStatusCancelled {
		t.Errorf("cancelled: %v, %v", job, err)
	}
}

func goChat(t *testing.T, client openai.Client, model string) {
	t.Helper()
	ask := openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("go")},
		MaxTokens: openai.Int(4), Temperature: openai.Float(0)}
	whole, err := client.Chat.Completions.New(t.Context(), ask)
	if err != nil || whole.Model != model {
		t.Fatalf("chat: %v", err)
	}
	stream := client.Chat.Completions.NewStreaming(t.Context(), ask)
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		all.AddChunk(stream.Current())
	}
	if stream.Err() != nil || len(all.Choices) != 1 || all.Choices[0].Message.Content != whole.Choices[0].Message.Content {
		t.Errorf("streamed %+v, %v; at once %+v", all.Choices, stream.Err(), whole.Choices)
	}
	// A client that goes away in the middle leaves the worker free.
	ctx, leave := context.WithCancel(t.Context())
	ask.MaxTokens = openai.Int(200)
	gone := client.Chat.Completions.NewStreaming(ctx, ask, option.WithJSONSet("ignore_eos", true))
	if !gone.Next() {
		t.Errorf("no first word: %v", gone.Err())
	}
	leave()
	_ = gone.Close() // its connection is gone
	ask.MaxTokens = openai.Int(1)
	if _, err := client.Chat.Completions.New(t.Context(), ask); err != nil {
		t.Errorf("after a client that went away: %v", err)
	}
}
