package systemtest_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"descant/cmd/descant/systemtest"
)

// TestCompose goes from a file to an answer through the HTTP API of docker-compose.yml, with the key that its file of
// keys has.
func TestCompose(t *testing.T) {
	system := systemtest.Composed(t, "../../../docker-compose.yml")
	ctx := t.Context()
	var refused *openai.Error
	stranger := openai.NewClient(option.WithBaseURL(system.APIURL), option.WithAPIKey("some other key"))
	if _, err := stranger.Models.List(ctx); !errors.As(err, &refused) || refused.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a wrong key: %v", err)
	}
	client := openai.NewClient(option.WithBaseURL(system.APIURL), option.WithAPIKey(system.APIKey))
	rows := strings.Repeat(`{"instruction":"compose","output":"yes"}`+"\n", 4)
	file, err := client.Files.New(ctx, openai.FileNewParams{File: openai.File(bytes.NewReader([]byte(rows)), "compose.jsonl", "application/jsonl"), Purpose: openai.FilePurposeFineTune})
	if err != nil {
		t.Fatal(err)
	}
	job, err := client.FineTuning.Jobs.New(ctx, openai.FineTuningJobNewParams{Model: "builtin:tiny", TrainingFile: file.ID, Suffix: openai.String("composed")},
		option.WithJSONSet("r", 2), option.WithJSONSet("max_steps", 2))
	if err != nil {
		t.Fatal(err)
	}
	if job = waitForJob(t, client, job.ID); job.FineTunedModel != "composed@1" {
		t.Fatalf("job: %s", job.RawJSON())
	}
	goChat(t, client, job.FineTunedModel)
}
