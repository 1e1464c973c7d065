package gateway

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/openai"
	"descant/pkg/pb"
)

const (
	usualPage = 20
	longPage  = 100
	// eventsPage is the longest page of events.
	eventsPage = 1000
)

// writeJob answers with a job.
func writeJob(w http.ResponseWriter, view *pb.JobView, err error) {
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	one, err := openai.NewFineTuningJob(view)
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	openai.WriteJSON(w, http.StatusOK, one)
}

// createJob makes a job. The same request is the same job, so a client that did not get the answer may ask again.
func (g *Gateway) createJob(w http.ResponseWriter, r *http.Request) {
	data, err := openai.ReadBody(w, r)
	if err == nil {
		data, err = openai.ReadFineTuningJob(data)
	}
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	rec, _, err := g.admit(r.Context(), data)
	if err != nil {
		openai.WriteError(w, openai.JobRequestError(err))
		return
	}
	shown, err := view(rec, nil)
	writeJob(w, shown, err)
}

func (g *Gateway) getJob(w http.ResponseWriter, r *http.Request) {
	shown, err := g.get(r.Context(), &pb.GetJobRequest{Id: r.PathValue("job")})
	writeJob(w, shown, err)
}

// controlJob answers cancel, pause and resume.
func (g *Gateway) controlJob(action string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		shown, err := g.act(r.Context(), r.PathValue("job"), action, "")
		writeJob(w, shown, err)
	}
}

func (g *Gateway) listJobs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	wanted, names := metadataFilter(query)
	page, err := openai.ReadPage(query, usualPage, longPage, names...)
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	found, err := g.list(r.Context(), &pb.ListJobsRequest{Limit: uint32(page.Limit), After: page.After, Metadata: wanted})
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	var jobs []*openai.FineTuningJob
	for _, shown := range found.GetJobs() {
		one, err := openai.NewFineTuningJob(shown)
		if err != nil {
			openai.WriteError(w, err)
			return
		}
		jobs = append(jobs, one)
	}
	openai.WriteJSON(w, http.StatusOK, openai.NewList(jobs, found.GetHasMore(), func(j *openai.FineTuningJob) string { return j.ID }))
}

// metadataFilter reads parameters such as metadata[team]=support, and returns their names, too.
func metadataFilter(query url.Values) (wanted map[string]string, names []string) {
	wanted = map[string]string{}
	for name := range query {
		if key, ok := strings.CutPrefix(name, "metadata["); ok && strings.HasSuffix(key, "]") {
			wanted[strings.TrimSuffix(key, "]")] = query.Get(name)
			names = append(names, name)
		}
	}
	return wanted, names
}

// jobEvents lists the events of a job, the newest first, or follows them as they come.
func (g *Gateway) jobEvents(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	page, err := openai.ReadPage(query, usualPage, eventsPage, "stream")
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	rec, err := g.find(r.Context(), r.PathValue("job"))
	if err != nil {
		openai.WriteError(w, refused(err))
		return
	}
	after := cmp.Or(page.After, r.Header.Get("Last-Event-ID"))
	var seq uint64
	if after != "" {
		if seq, err = openai.ParseEventID(after); err != nil {
			openai.WriteError(w, err)
			return
		}
	}
	stream, err := strconv.ParseBool(cmp.Or(query.Get("stream"), "false"))
	switch {
	case err != nil:
		openai.WriteError(w, openai.Invalid("stream", openai.CodeInvalidValue, "stream is %q: use true or false", query.Get("stream")))
	case stream:
		g.followJob(w, r, rec, seq)
	default:
		g.pastEvents(w, r, rec.Job.GetId(), seq, page.Limit)
	}
}

// pastEvents answers with the events before one, the newest first.
func (g *Gateway) pastEvents(w http.ResponseWriter, r *http.Request, id string, before uint64, limit int) {
	var events []openai.FineTuningEvent
	for event, err := range g.deps.Bus.Follow(r.Context(), id, bus.FollowOptions{Past: true}) {
		if err != nil {
			openai.WriteError(w, job.InfrastructureError(job.CodeBus, "read the events of job "+id, err))
			return
		}
		if before == 0 || event.GetSeq() < before {
			events = append(events, openai.NewFineTuningEvent(event))
		}
	}
	slices.Reverse(events)
	more := len(events) > limit
	openai.WriteJSON(w, http.StatusOK, openai.NewList(events[:min(len(events), limit)], more, func(e openai.FineTuningEvent) string { return e.ID }))
}

// followJob streams the events after one, the oldest first, until the job ends.
func (g *Gateway) followJob(w http.ResponseWriter, r *http.Request, rec bus.Record, after uint64) {
	id := rec.Job.GetId()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream := openai.NewEventStream(w)
	events := g.events(ctx, rec, after+1)
	quiet := time.NewTicker(openai.KeepAlive)
	defer quiet.Stop()
	// The head goes out at once: a follower of a job that waits for a worker sees that it is connected.
	if stream.Comment("events of "+id) != nil {
		return
	}
	for {
		select {
		case next, open := <-events:
			if !open {
				return
			}
			if next.err != nil {
				stream.Fail(job.InfrastructureError(job.CodeBus, "follow job "+id, next.err))
				return
			}
			if next.event == nil {
				_ = stream.Done() // the client may be gone
				return
			}
			shown := openai.NewFineTuningEvent(next.event)
			if stream.SendID(shown.ID, shown) != nil {
				return
			}
		case <-quiet.C:
			if stream.Comment("waiting") != nil {
				return
			}
		}
	}
}

// jobEvent is an event, an error, or neither when the job has ended.
type jobEvent struct {
	event *pb.Event
	err   error
}

// events yields the events of a job from a place on, and tells when the job has ended. Of a job that has ended there are
// only past ones.
func (g *Gateway) events(ctx context.Context, rec bus.Record, from uint64) <-chan jobEvent {
	id, ended := rec.Job.GetId(), job.State(rec.Job.GetState()).Final()
	out := make(chan jobEvent)
	send := func(e jobEvent) bool {
		select {
		case out <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(out)
		for event, err := range g.deps.Bus.Follow(ctx, id, bus.FollowOptions{From: from, Past: ended}) {
			if !send(jobEvent{event, err}) || err != nil {
				return
			}
			if !ended && job.State(event.GetState()).Final() {
				// A job that was sent again goes on after its first end.
				rec, err := g.deps.Bus.Job(ctx, id)
				if err == nil && job.State(rec.Job.GetState()).Final() && rec.Job.GetEpoch() == event.GetEpoch() {
					send(jobEvent{})
					return
				}
			}
		}
		if ended {
			send(jobEvent{})
		}
	}()
	return out
}

// jobCheckpoints lists the checkpoints that are stored, the newest first.
func (g *Gateway) jobCheckpoints(w http.ResponseWriter, r *http.Request) {
	page, err := openai.ReadPage(r.URL.Query(), 10, longPage)
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	rec, err := g.find(r.Context(), r.PathValue("job"))
	if err != nil {
		openai.WriteError(w, refused(err))
		return
	}
	all, err := g.checkpoints(r.Context(), rec.Job)
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	list, err := openai.Cut(all, page, func(c openai.FineTuningCheckpoint) string { return c.ID })
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	openai.WriteJSON(w, http.StatusOK, list)
}

func (g *Gateway) checkpoints(ctx context.Context, j *pb.Job) ([]openai.FineTuningCheckpoint, error) {
	objects, err := g.deps.Objects.List(ctx, "checkpoints/"+j.GetId()+"/")
	if err != nil {
		return nil, job.InfrastructureError(job.CodeStore, "list the checkpoints of job "+j.GetId(), err)
	}
	metrics, err := g.losses(ctx, j.GetId())
	if err != nil {
		return nil, err
	}
	bySteps := map[int]openai.FineTuningCheckpoint{}
	for _, object := range objects {
		folder, ok := strings.CutSuffix(object.Key, "/manifest.json")
		if step := checkpointStep(folder); ok && step > 0 {
			bySteps[step] = checkpointObject(j, folder, step, object, metrics[step])
		}
	}
	// The model is what the last step left, whether or not a checkpoint was made of it.
	if last := int(j.GetProgress().GetStep()); job.State(j.GetState()) == job.StateSucceeded && bySteps[last].ID == "" {
		bySteps[last] = checkpointObject(j, "", last, blob.Info{Modified: j.GetUpdatedAt().AsTime()}, metrics[last])
	}
	var all []openai.FineTuningCheckpoint
	for _, one := range bySteps {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b openai.FineTuningCheckpoint) int { return b.StepNumber - a.StepNumber })
	return all, nil
}

func checkpointObject(j *pb.Job, folder string, step int, object blob.Info, metrics openai.CheckpointMetrics) openai.FineTuningCheckpoint {
	model := folder
	if ref := j.GetArtifacts().GetAdapterRef(); ref != "" && step == int(j.GetProgress().GetStep()) {
		model = ref
	}
	metrics.Step = step
	return openai.FineTuningCheckpoint{ID: "ftckpt-" + strings.TrimPrefix(j.GetId(), "ft-") + "-" + strconv.Itoa(step), Object: "fine_tuning.job.checkpoint",
		CreatedAt: object.Modified.Unix(), FineTunedModelCheckpoint: model, FineTuningJobID: j.GetId(), StepNumber: step, Metrics: metrics}
}

// checkpointStep reads the step at the end of checkpoints/<job>/<epoch>-<step>; 0 if there is none.
func checkpointStep(folder string) int {
	step, err := strconv.Atoi(folder[strings.LastIndexByte(folder, '-')+1:])
	if err != nil {
		return 0
	}
	return step
}

// losses are the numbers that a job reported, by step.
func (g *Gateway) losses(ctx context.Context, id string) (map[int]openai.CheckpointMetrics, error) {
	all := map[int]openai.CheckpointMetrics{}
	for event, err := range g.deps.Bus.Follow(ctx, id, bus.FollowOptions{Past: true}) {
		if err != nil {
			return nil, job.InfrastructureError(job.CodeBus, "read the events of job "+id, err)
		}
		switch event.GetType() {
		case bus.EventStep:
			loss := event.GetStep().GetLoss()
			one := all[int(event.GetStep().GetStep())]
			one.TrainLoss = &loss
			all[int(event.GetStep().GetStep())] = one
		case bus.EventEval:
			loss := event.GetEvaluation().GetLoss()
			one := all[int(event.GetEvaluation().GetStep())]
			one.ValidLoss = &loss
			all[int(event.GetEvaluation().GetStep())] = one
		}
	}
	return all, nil
}
