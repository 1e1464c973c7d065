package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/openai"
	"descant/pkg/pb"
)

// maxLook is how long a tokenizer may take to look at rows; it gives up by itself a little earlier.
const maxLook = 65 * time.Second

// preview shows rows of a dataset as a training sees them.
func (g *Gateway) preview(ctx context.Context, req *pb.LookRequest) (*pb.PreviewResponse, error) {
	reply := new(pb.PreviewResponse)
	return reply, g.look(ctx, "tokenizer.preview", req, reply)
}

// survey tells what is in a dataset.
func (g *Gateway) survey(ctx context.Context, req *pb.LookRequest) (*pb.SurveyResponse, error) {
	reply := new(pb.SurveyResponse)
	return reply, g.look(ctx, "tokenizer.survey", req, reply)
}

// look pins the dataset of a request and has a tokenizer look at its rows.
func (g *Gateway) look(ctx context.Context, subject string, req *pb.LookRequest, reply proto.Message) error {
	name := req.GetDataset()
	ref, _, err := g.pin(ctx, job.Request{Dataset: name})
	if err != nil {
		return refused(err)
	}
	pinned := bus.Clone(req)
	pinned.Dataset, pinned.File = ref, job.SpecDataset{Name: name, Dataset: ref}.File()
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	err = g.deps.Bus.Call(ctx, subject, pinned, reply)
	if errors.Is(err, bus.ErrNoResponders) {
		err = job.RefusedError(job.CodeNoWorker, "no tokenizer is there", "start one (`descant tokenizer`), or try again when one is up", 5*time.Second)
	}
	if ready := (*bus.Failure)(nil); errors.As(err, &ready) {
		return err
	}
	return refused(err)
}

// filePreview answers datasets.preview over HTTP.
func (g *Gateway) filePreview(w http.ResponseWriter, r *http.Request) {
	req, err := lookRequest(r, "model", "loss_on", "max_length", "row", "limit")
	if err == nil && req.GetModel() == "" {
		err = openai.Invalid("model", openai.CodeMissingParameter, "model is missing: name the base whose tokenizer makes the tokens")
	}
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	reply, err := g.preview(r.Context(), req)
	writeMessage(w, reply, lookError(req.GetDataset(), err))
}

// fileSurvey answers datasets.survey over HTTP.
func (g *Gateway) fileSurvey(w http.ResponseWriter, r *http.Request) {
	req, err := lookRequest(r, "model", "loss_on", "max_length")
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	reply, err := g.survey(r.Context(), req)
	writeMessage(w, reply, lookError(req.GetDataset(), err))
}

// lookError makes a dataset that is not there a file that is not there.
func lookError(id string, err error) error {
	if err == nil {
		return nil
	}
	e := openai.AsError(err)
	if e.Code != nil && *e.Code == string(job.CodeDatasetMissing) {
		return noFile(id)
	}
	return e
}

// lookRequest reads the parameters of a look; those that are not among names are refused.
func lookRequest(r *http.Request, names ...string) (*pb.LookRequest, error) {
	query := r.URL.Query()
	req := &pb.LookRequest{Dataset: r.PathValue("file"), Model: query.Get("model"), LossOn: query.Get("loss_on")}
	for name, values := range query {
		switch {
		case !slices.Contains(names, name):
			return nil, openai.Invalid(name, openai.CodeUnknownParameter, "%s is not a parameter here; there are %v", name, names)
		case len(values) > 1:
			return nil, openai.Invalid(name, openai.CodeInvalidValue, "%s is given %d times", name, len(values))
		}
	}
	for name, into := range map[string]**uint32{"max_length": &req.MaxLength, "row": &req.Row, "limit": &req.Limit} {
		if err := readNumber(query, name, into); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// readNumber reads a whole number from 1 on, where one is given.
func readNumber(query url.Values, name string, into **uint32) error {
	if !query.Has(name) {
		return nil
	}
	n, err := strconv.ParseUint(query.Get(name), 10, 32)
	if err != nil || n < 1 {
		return openai.Invalid(name, openai.CodeInvalidValue, "%s is %q: use a whole number from 1", name, query.Get(name))
	}
	value := uint32(n)
	*into = &value
	return nil
}

// writeMessage answers with a message as the micro services write it.
func writeMessage(w http.ResponseWriter, reply proto.Message, err error) {
	var data []byte
	if err == nil {
		data, err = bus.ToJSON(reply)
	}
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n')) // the client may be gone
}
