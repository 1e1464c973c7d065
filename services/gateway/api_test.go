package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"descant/cmd/descant/systemtest"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/openai"
	"descant/pkg/pb"
)

// apiClient sends requests to the HTTP API of a gateway.
type apiClient struct {
	url  string
	test *testing.T
}

// do sends a request and decodes the answer, whose status must be as expected.
func (c apiClient) do(method, path string, body io.Reader, kind string, status int, into any) {
	c.test.Helper()
	r, err := http.NewRequestWithContext(c.test.Context(), method, c.url+path, body)
	if err != nil {
		c.test.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		c.test.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		c.test.Fatal(err)
	}
	if response.StatusCode != status {
		c.test.Fatalf("%s %s: status %d, want %d: %s", method, path, response.StatusCode, status, data)
	}
	if err := json.Unmarshal(data, into); err != nil {
		c.test.Fatalf("%s %s: %v: %s", method, path, err, data)
	}

}

func (c apiClient) get(path string, status int, into any) {
	c.test.Helper()
	c.do(http.MethodGet, path, nil, "", status, into)
}

func (c apiClient) post(path, body string, status int, into any) {
	c.test.Helper()
	c.do(http.MethodPost, path, strings.NewReader(body), "application/json", status, into)
}

// upload sends a file with the fields of a form.
func (c apiClient) upload(name, text string, fields map[string]string, status int, into any) {
	c.test.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for field, value := range fields {
		if err := form.WriteField(field, value); err != nil {
			c.test.Fatal(err)
		}
	}
	if name != "" {
		part, err := form.CreateFormFile("file", name)
		if err != nil {
			c.test.Fatal(err)
		}
		if _, err := io.WriteString(part, text); err != nil {
			c.test.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		c.test.Fatal(err)
	}
	c.do(http.MethodPost, "/v1/files", &body, form.FormDataContentType(), status, into)
}

// failure is the body of an error.
type failure struct{ Error openai.Error }

func (f failure) is(t *testing.T, param, code string) {
	t.Helper()
	if f.Error.Param == nil && param != "" || f.Error.Param != nil && *f.Error.Param != param || f.Error.Code == nil || *f.Error.Code != code || f.Error.Message == "" || f.Error.Type == "" {
		t.Errorf("error %+v, want param %q and code %q", f.Error, param, code)
	}
}

const twoRows = `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}
{"instruction":"c","output":"d"}
`

func TestAPI(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	server := httptest.NewServer(g.apiHandler())
	t.Cleanup(server.Close)
	url := systemtest.CheckAPI(t, server.URL) // every answer is held against openapi.yaml
	client := func(t *testing.T) apiClient { return apiClient{url, t} }
	fineTune := map[string]string{"purpose": "fine-tune"}

	t.Run("files", func(t *testing.T) {
		c := client(t)
		var file, again openai.File
		c.upload("行.jsonl", twoRows, fineTune, http.StatusOK, &file)
		if file.Filename != "行.jsonl" || file.Rows != 2 || file.Bytes != int64(len(twoRows)) || file.Status != "processed" {
			t.Errorf("file %+v", file)
		}
		if c.upload("行.jsonl", twoRows, fineTune, http.StatusOK, &again); again != file {
			t.Errorf("sent again it is %+v", again)
		}
		c.upload("other.jsonl", twoRows, fineTune, http.StatusOK, &again)
		var list openai.List[openai.File]
		if c.get("/v1/files?limit=1", http.StatusOK, &list); len(list.Data) != 1 || !list.HasMore {
			t.Errorf("first page %+v", list)
		}
		if c.get("/v1/files?order=asc&after="+file.ID, http.StatusOK, &list); len(list.Data) != 1 || list.HasMore || list.Data[0].ID != again.ID {
			t.Errorf("second page %+v", list)
		}
		response, err := http.Get(server.URL + "/v1/files/" + file.ID + "/content")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if content, err := io.ReadAll(response.Body); err != nil || string(content) != twoRows {
			t.Errorf("content %q, %v", content, err)
		}
		var gone openai.Deleted
		if c.do(http.MethodDelete, "/v1/files/"+again.ID, nil, "", http.StatusOK, &gone); !gone.Deleted || gone.ID != again.ID {
			t.Errorf("deleted %+v", gone)
		}
		var why failure
		c.get("/v1/files/"+again.ID, http.StatusNotFound, &why)
		why.is(t, "id", "not_found")
		if c.get("/v1/files?purpose=batch", http.StatusOK, &list); len(list.Data) != 0 {
			t.Errorf("files for batch: %+v", list)
		}
	})

	t.Run("bad files", func(t *testing.T) {
		c := client(t)
		var why failure
		c.upload("bad.jsonl", `{"messages":[]}`+"\n{", fineTune, http.StatusBadRequest, &why)
		why.is(t, "file", "bad_dataset")
		if len(why.Error.Problems) < 2 || why.Error.Problems[1].Line != 2 {
			t.Errorf("problems %+v", why.Error.Problems)
		}
		c.upload("rows.jsonl", twoRows, map[string]string{"purpose": "batch"}, http.StatusBadRequest, &why)
		why.is(t, "purpose", openai.CodeUnsupportedParameter)
		c.upload("", "", fineTune, http.StatusBadRequest, &why)
		why.is(t, "file", openai.CodeMissingParameter)
		c.upload("rows.jsonl", twoRows, map[string]string{"purpose": "fine-tune", "expires_after[seconds]": "60"}, http.StatusBadRequest, &why)
		why.is(t, "expires_after[seconds]", openai.CodeUnsupportedParameter)
		c.post("/v1/files", "{}", http.StatusBadRequest, &why)
		why.is(t, "file", openai.CodeMissingParameter)
	})

	create := func(t *testing.T, name string) openai.FineTuningJob {
		t.Helper()
		var made openai.FineTuningJob
		client(t).post("/v1/fine_tuning/jobs", fmt.Sprintf(`{"model":"m","training_file":"builtin:sample","suffix":%q,"metadata":{"name":%q}}`, name, name), http.StatusOK, &made)
		return made
	}

	t.Run("jobs", func(t *testing.T) {
		c := client(t)
		first := create(t, "first")
		if first.Status != openai.StatusValidatingFiles || first.TrainingFile != "builtin:sample" || first.Metadata["name"] != "first" {
			t.Errorf("made %+v", first)
		}
		if again := create(t, "first"); again.ID != first.ID {
			t.Errorf("the same request is another job %s", again.ID)
		}
		second := create(t, "second")
		var list openai.List[openai.FineTuningJob]
		if c.get("/v1/fine_tuning/jobs?limit=1", http.StatusOK, &list); len(list.Data) != 1 || list.Data[0].ID != second.ID || !list.HasMore {
			t.Errorf("first page %+v", list)
		}
		if c.get("/v1/fine_tuning/jobs?after="+second.ID, http.StatusOK, &list); len(list.Data) == 0 || list.Data[0].ID != first.ID {
			t.Errorf("second page %+v", list)
		}
		if c.get("/v1/fine_tuning/jobs?metadata[name]=first", http.StatusOK, &list); len(list.Data) != 1 || list.Data[0].ID != first.ID {
			t.Errorf("found by metadata %+v", list)
		}
		var shown openai.FineTuningJob
		if c.post("/v1/fine_tuning/jobs/"+first.ID+"/cancel", "", http.StatusOK, &shown); shown.Status != openai.StatusCancelled || shown.FinishedAt == nil {
			t.Errorf("cancelled %+v", shown)
		}
		if c.get("/v1/fine_tuning/jobs/"+first.ID, http.StatusOK, &shown); shown.Status != openai.StatusCancelled {
			t.Errorf("read again %+v", shown)
		}
		var why failure
		c.post("/v1/fine_tuning/jobs/"+first.ID+"/resume", "", http.StatusBadRequest, &why)
		why.is(t, "", "conflict")
		c.get("/v1/fine_tuning/jobs/ft-unknown", http.StatusNotFound, &why)
		why.is(t, "", "not_found")
		c.post("/v1/fine_tuning/jobs", `{"model":"m","training_file":"nope"}`, http.StatusBadRequest, &why)
		why.is(t, "training_file", "dataset_not_found")
		c.post("/v1/fine_tuning/jobs", `{"model":"m","training_file":"builtin:sample","suffix":"Not Good"}`, http.StatusBadRequest, &why)
		why.is(t, "suffix", "bad_request")
		c.get("/v1/fine_tuning/jobs?limit=101", http.StatusBadRequest, &why)
		why.is(t, "limit", openai.CodeInvalidValue)
	})

	t.Run("events", func(t *testing.T) { testEvents(t, g, client(t), create(t, "events").ID) })

	t.Run("deleting models", func(t *testing.T) {
		c := client(t)
		publish(t, g, "gone", "org/base", "one")
		publish(t, g, "gone", "org/base", "two")
		var gone openai.Deleted
		var why failure
		c.do(http.MethodDelete, "/v1/models/gone@latest", nil, "", http.StatusBadRequest, &why)
		if c.do(http.MethodDelete, "/v1/models/gone@2", nil, "", http.StatusOK, &gone); !gone.Deleted || gone.ID != "gone@2" || gone.Object != "model" {
			t.Errorf("deleted %+v", gone)
		}
		var left openai.Model
		if c.get("/v1/models/gone", http.StatusOK, &left); left.Root != "gone@1" {
			t.Errorf("left is %+v", left)
		}
		c.do(http.MethodDelete, "/v1/models/gone", nil, "", http.StatusOK, &gone)
		for _, id := range []string{"gone", "gone@1", "gone@2"} {
			c.get("/v1/models/"+id, http.StatusNotFound, &why)
			why.is(t, "model", openai.CodeModelNotFound)
		}
		c.do(http.MethodDelete, "/v1/models/gone", nil, "", http.StatusNotFound, &why)
		c.do(http.MethodDelete, "/v1/models/org/base", nil, "", http.StatusNotFound, &why)
	})

	t.Run("models", func(t *testing.T) {
		c := client(t)
		var list openai.List[openai.Model]
		if c.get("/v1/models", http.StatusOK, &list); len(list.Data) != 0 || list.Object != "list" {
			t.Errorf("models %+v", list)
		}
		var why failure
		c.get("/v1/models/org/name", http.StatusNotFound, &why)
		why.is(t, "model", openai.CodeModelNotFound)
		c.get("/v1/models/nope", http.StatusNotFound, &why)
		why.is(t, "model", openai.CodeModelNotFound)
		c.post("/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, http.StatusServiceUnavailable, &why)
		why.is(t, "", "no_worker")
	})
}

// testEvents pages through the events of a job and follows it to its end.
func testEvents(t *testing.T, g *Gateway, c apiClient, id string) {
	ctx, b := t.Context(), g.deps.Bus
	rec, err := b.Job(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	for step := range uint32(5) {
		if err := b.Emit(ctx, rec, &pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: step + 1, Total: 5, Loss: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	var page openai.List[openai.FineTuningEvent]
	c.get("/v1/fine_tuning/jobs/"+id+"/events?limit=4", http.StatusOK, &page)
	if len(page.Data) != 4 || !page.HasMore || !strings.HasPrefix(page.Data[0].Message, "Step 5/5") {
		t.Fatalf("first page %+v", page)
	}
	c.get("/v1/fine_tuning/jobs/"+id+"/events?after="+*page.LastID, http.StatusOK, &page)
	if len(page.Data) != 2 || page.HasMore || page.Data[1].Type != "message" {
		t.Fatalf("second page %+v", page)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/v1/fine_tuning/jobs/"+id+"/events?stream=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", page.Data[0].ID) // step 1
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	changed := bus.Clone(rec.Job)
	changed.State = string(job.StateFailed)
	if _, err := b.Advance(ctx, rec, changed, bus.Change{Events: []*pb.Event{{Message: "it broke"}}}); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			seen = append(seen, data)
		}
	}
	if len(seen) != 6 || !strings.Contains(seen[0], "Step 2/5") || !strings.Contains(seen[4], "it broke") || seen[5] != "[DONE]" {
		t.Errorf("followed %q", seen)
	}
	again, err := http.Get(c.url + "/v1/fine_tuning/jobs/" + id + "/events?stream=true")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Body.Close()
	if body, err := io.ReadAll(again.Body); err != nil || strings.Count(string(body), "data: ") != 8 {
		t.Errorf("a job that has ended is followed as %s, %v", body, err)
	}
	var why failure
	c.get("/v1/fine_tuning/jobs/"+id+"/events?after=7", http.StatusBadRequest, &why)
	why.is(t, "after", openai.CodeInvalidValue)
}
