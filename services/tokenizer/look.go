package tokenizer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// Bounds of what people look at, so that an answer fits into a message and no look keeps a tokenizer from its jobs.
const (
	usualPreview = 5
	maxPreview   = 20
	// maxListed bounds the tokens of a row that are listed, and those of all rows behind which no other row begins.
	maxListed      = 4096
	maxListedBytes = 256 << 10
	// maxLookedAt is the largest dataset that is read for a survey or a preview.
	maxLookedAt = 64 << 20
	// maxLooks is how many are answered at once; the others wait.
	maxLooks = 2
	// maxLook is how long one may take, with the wait for the others.
	maxLook = time.Minute
)

// look is the micro service by which people see the rows of a dataset as a training does, in JSON. The gateway asks it.
func (s *Service) look() bus.Service {
	return bus.Service{
		Name: "tokenizer", Version: s.deps.Version, Description: "rows as a training sees them: preview, survey",
		Methods: []bus.Method{
			bus.NewMethod("tokenizer.preview", func(ctx context.Context, req *pb.LookRequest) (*pb.PreviewResponse, error) {
				reply, err := looking(ctx, s, req, s.preview)
				return reply, refused(err)
			}),
			bus.NewMethod("tokenizer.survey", func(ctx context.Context, req *pb.LookRequest) (*pb.SurveyResponse, error) {
				reply, err := looking(ctx, s, req, s.survey)
				return reply, refused(err)
			}),
		},
	}
}

// refused gives an error the form in which it travels.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return bus.Fail(job.AsError("look at the rows", err).Proto())
}

// lookedAt is what a request asks to look at.
type lookedAt struct {
	rows     *dataset.Reader
	file     string
	training job.Training
	encoder  *Encoder // nil without a model
	first    int      // row, from 1
	limit    int
}

// looking opens what a request asks for and lets one of a few look at it at a time.
func looking[R any](ctx context.Context, s *Service, req *pb.LookRequest, at func(context.Context, lookedAt) (R, error)) (reply R, err error) {
	l := lookedAt{file: req.GetFile(), training: job.DefaultTraining(), first: 1, limit: usualPreview}
	if err := l.read(req); err != nil {
		return reply, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxLook, job.RefusedError(job.CodeNotReady, fmt.Sprintf("looking at the rows took longer than %v", maxLook),
		"try again, perhaps with a base that is here already; `descant validate FILE` has no such bound", 10*time.Second))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	select {
	case s.looks <- struct{}{}:
		defer func() { <-s.looks }()
	case <-ctx.Done():
		return reply, context.Cause(ctx)
	}
	in, err := s.open(ctx, req.GetDataset())
	if err != nil {
		return reply, fetchError(req.GetDataset(), err)
	}
	defer in.Close()
	if l.file == "" {
		l.file = req.GetDataset()
	}
	l.rows = dataset.NewReader(in, l.file, ReadOptions(l.training))
	if req.GetModel() != "" {
		base, err := s.deps.Bases.Base(ctx, req.GetModel())
		if err != nil {
			return reply, err
		}
		if l.encoder, err = OpenEncoder(base.Dir, req.GetModel()); err != nil {
			return reply, err
		}
		defer l.encoder.Close()
	}
	return at(ctx, l)
}

// read takes the options of a request and tells everything that is wrong with them.
func (l *lookedAt) read(req *pb.LookRequest) error {
	if req.GetLossOn() != "" {
		l.training.LossOn = req.GetLossOn()
	}
	if req.MaxLength != nil {
		l.training.MaxLength = int(req.GetMaxLength())
	}
	if req.Row != nil {
		l.first = int(req.GetRow())
	}
	if req.Limit != nil {
		l.limit = int(req.GetLimit())
	}
	problems := l.training.Validate()
	if l.first < 1 {
		problems = append(problems, job.Problem{Field: "row", Found: "0", Reason: "is no row", Next: "rows count from 1"})
	}
	if l.limit < 1 || l.limit > maxPreview {
		problems = append(problems, job.Problem{Field: "limit", Found: strconv.Itoa(l.limit), Reason: "is not between 1 and " + strconv.Itoa(maxPreview), Next: "ask for the next rows with row"})
	}
	if len(problems) > 0 {
		return job.UserError(job.CodeBadRequest, "the rows cannot be looked at so", "correct the request", problems...)
	}
	return nil
}

// open reads a dataset whose reference is pinned.
func (s *Service) open(ctx context.Context, ref string) (io.ReadCloser, error) {
	if ref == dataset.SampleName {
		return io.NopCloser(bytes.NewReader(dataset.SampleBytes())), nil
	}
	key, isObject := strings.CutPrefix(ref, "s3://")
	if !isObject {
		digest, _ := job.SplitDigestRef(ref)
		var err error
		if key, err = blob.ContentKey(digest); err != nil {
			return nil, job.UserError(job.CodeDatasetMissing, fmt.Sprintf("dataset %q is no reference to content: %v", ref, err), "ask datasets.preview and datasets.survey, which take names")
		}
	}
	in, info, err := s.deps.Objects.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if info.Size > maxLookedAt {
		return nil, errors.Join(job.UserError(job.CodeBadRequest, fmt.Sprintf("dataset %s has %d bytes, more than the %d that are looked at here", ref, info.Size, maxLookedAt),
			"use `descant preview FILE` and `descant validate FILE` where the file is"), in.Close())
	}
	return in, nil
}

// preview lists rows with their tokens. Problems of rows are no obstacle: what is wrong is for a survey to say.
func (s *Service) preview(ctx context.Context, l lookedAt) (*pb.PreviewResponse, error) {
	if l.encoder == nil {
		return nil, job.UserError(job.CodeBadRequest, "a preview needs a base, whose tokenizer makes the tokens", "name one",
			job.Problem{Field: "model", Reason: "is missing", Next: "give for example Qwen/Qwen2.5-0.5B-Instruct"})
	}
	reply, listed := new(pb.PreviewResponse), 0
	for number := 1; ; number++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		row, err := l.rows.Next()
		if errors.Is(err, io.EOF) || dataset.IsInvalid(err) {
			return reply, nil
		}
		if err != nil {
			return nil, err
		}
		if number < l.first {
			continue
		}
		if len(reply.Rows) == l.limit || listed > maxListedBytes {
			reply.HasMore = true
			return reply, nil
		}
		seen, err := l.encoder.Preview(row, l.file, TokeniseOptions(l.training))
		if err != nil {
			return nil, err
		}
		one := &pb.PreviewRow{Row: uint32(number), Line: uint32(row.Line), Shape: string(row.Shape), Length: uint32(len(seen.Tokens)), Trained: uint32(seen.Trained), Cut: uint32(seen.Cut)}
		for _, t := range seen.Tokens[:min(len(seen.Tokens), maxListed)] {
			one.Tokens = append(one.Tokens, &pb.PreviewToken{Id: t.ID, Text: t.Text, Use: string(t.Use)})
			listed += len(t.Text) + len(`{"id":151643,"text":"","use":"context"},`)
		}
		reply.Rows = append(reply.Rows, one)
	}
}

// survey reads all rows and says what is in them, as `descant validate` does.
func (s *Service) survey(ctx context.Context, l lookedAt) (*pb.SurveyResponse, error) {
	opts := dataset.SurveyOptions{Tokenise: TokeniseOptions(l.training)}
	if l.encoder != nil {
		opts.Encode = l.encoder.Encode
	}
	survey, err := dataset.Inspect(ctx, l.rows, opts)
	var bad *dataset.ValidationError
	if errors.As(err, &bad) {
		return nil, RefusedError{bad}.userError()
	}
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(survey)
	if err != nil {
		return nil, job.BugError("write the survey", err)
	}
	object, err := bus.Object(data)
	return &pb.SurveyResponse{Survey: object}, err
}
