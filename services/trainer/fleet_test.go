package trainer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/embedded"
	"descant/pkg/job"
	"descant/pkg/model/modeltest"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/stage"
)

// late is how long anything may take that a test waits for, on a busy machine.
const late = 3 * time.Minute

// fleet is a bus and an object store with a tokenized dataset, at which trainer processes work.
type fleet struct {
	bus      *bus.Bus
	objects  *blob.Store
	registry *registry.Registry
	uploads  *gate
	spec     workerSpec // what all workers have in common
	rows     stage.Folder
	workers  int
}

const rowsKey = "tokenized/rows"

// newFleet starts servers in this process; there can be only one.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	base, err := filepath.Abs(modeltest.Cases(t, "full_train.json")[0].Base())
	if err != nil {
		t.Fatal(err)
	}
	servers, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), NATSAddr: "127.0.0.1:0", S3Addr: "127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := servers.Stop(); err != nil {
			t.Error(err)
		}
	})
	at := servers.Endpoints
	f := &fleet{uploads: newGate(t, at.S3Endpoint)}
	f.spec = workerSpec{NATS: at.NATSURL, S3: f.uploads.server.URL, AccessKey: at.AccessKey, SecretKey: at.SecretKey.Reveal(), Base: base, BaseDigest: "sha256:base"}
	if f.bus, err = bus.Connect(t.Context(), busConfig(at.NATSURL), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.bus.Close() })
	if f.objects, err = blob.Open(t.Context(), blobConfig(at.S3Endpoint, at.AccessKey, at.SecretKey.Reveal())); err != nil {
		t.Fatal(err)
	}
	f.registry = registry.New(f.objects, f.bus.Registry())
	f.tokenize(t)
	return f
}

// tokenize stores the rows as the tokenizer does. The file has blank lines, so that rows and lines differ.
func (f *fleet) tokenize(t *testing.T) {
	t.Helper()
	var text strings.Builder
	for i := range 12 {
		fmt.Fprintf(&text, `{"instruction":"row %d","output":"%s"}`+"\n\n", i, strings.Repeat("x", i%5))
	}
	encode := func(row dataset.Row) (ids []int32, answers []int, err error) {
		for i, m := range row.Messages {
			for _, b := range []byte(m.Content) {
				ids, answers = append(ids, int32(b)%100), append(answers, i)
			}
		}
		return ids, answers, nil
	}
	dir := t.TempDir()
	reader := dataset.NewReader(strings.NewReader(strings.ReplaceAll(text.String(), `""`, `"y"`)), "rows.jsonl", dataset.ReadOptions{})
	if _, err := dataset.Tokenise(t.Context(), reader, encode, dir, dataset.TokeniseOptions{MaxLength: 32}); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.rows, err = stage.PutFolder(t.Context(), f.objects, rowsKey, dir, nil); err != nil {
		t.Fatal(err)
	}
}

// submit stores a job as the tokenizer hands it on, with its work, and returns its id.
func (f *fleet) submit(t *testing.T, name string, edit func(*job.Training)) string {
	t.Helper()
	request := job.NewRequest()
	request.Model, request.Dataset, request.Name = "base", "rows", name
	request.MaxSteps, request.GradientAccumulationSteps, request.PerDeviceTrainBatchSize = 8, 2, 2
	request.MaxLength, request.SaveSteps, request.R, request.LoraDropout, request.LearningRate = 32, 3, 2, 0.1, 0.02
	request.NEFTuneAlpha, request.LoraPlusLRRatio = 5, 4
	if edit != nil {
		edit(&request.Training)
	}
	if problems := request.Validate(); len(problems) > 0 {
		t.Fatal(job.Problems(problems))
	}
	spec := job.NewSpec(request, "rows", "sha256:rows", nil)
	record := &pb.Job{Id: spec.ID(), Spec: spec.Canonical(), State: string(job.StateQueued), Name: name, Artifacts: &pb.Artifacts{
		DatasetDigest: "sha256:rows", BaseDigest: f.spec.BaseDigest, TokenizedKey: rowsKey, TokenizedDigest: f.rows.Digest(), Rows: 12,
	}}
	if _, err := f.bus.CreateJob(t.Context(), record, bus.Change{Stage: string(job.StageTrain)}); err != nil {
		t.Fatal(err)
	}
	return spec.ID()
}

// person brings a job to a state as the gateway does.
func (f *fleet) person(t *testing.T, id string, to job.State) {
	t.Helper()
	for {
		rec := f.job(t, id)
		changed := bus.Clone(rec.Job)
		changed.State = string(to)
		_, err := f.bus.Advance(t.Context(), rec, changed, bus.Change{Stage: string(to.Stage())})
		if err == nil {
			return
		}
		if !errors.Is(err, bus.ErrStale) {
			t.Fatal(err)
		}
	}
}

func (f *fleet) job(t *testing.T, id string) bus.Record {
	t.Helper()
	rec, err := f.bus.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// until waits for a record.
func (f *fleet) until(t *testing.T, id string, what string, wanted func(*pb.Job) bool) *pb.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), late)
	defer cancel()
	var last *pb.Job
	for rec, err := range f.bus.WatchJobs(ctx) {
		if err != nil {
			break
		}
		if rec.Job.GetId() != id {
			continue
		}
		if last = rec.Job; wanted(last) {
			return last
		}
	}
	t.Fatalf("job %s is not %s: %v", id, what, last)
	return nil
}

func (f *fleet) untilState(t *testing.T, id string, state job.State) *pb.Job {
	t.Helper()
	return f.until(t, id, string(state), func(j *pb.Job) bool {
		if got := job.State(j.GetState()); got != state && got.Final() {
			t.Fatalf("job %s ended as %s: %v", id, got, j.GetError())
		}
		return j.GetState() == string(state)
	})
}

// messages are what was said of a job, in order.
func (f *fleet) messages(t *testing.T, id string) []string {
	t.Helper()
	var all []string
	for event, err := range f.bus.Follow(t.Context(), id, bus.FollowOptions{Past: true}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, event.GetMessage())
	}
	return all
}

// steps are the numbers of the step events of a job, in order.
func (f *fleet) steps(t *testing.T, id string) []int {
	t.Helper()
	var all []int
	for event, err := range f.bus.Follow(t.Context(), id, bus.FollowOptions{Past: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.GetType() == bus.EventStep {
			all = append(all, int(event.GetStep().GetStep()))
		}
	}
	return all
}

// manifest is that of the adapter with a name.
func (f *fleet) manifest(t *testing.T, name string) *pb.AdapterManifest {
	t.Helper()
	found, err := f.registry.Resolve(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := f.registry.Manifest(t.Context(), found.Version)
	if err != nil {
		t.Fatal(err)
	}
	return manifest
}

// weights are the files of a job's adapter that the training decides.
func (f *fleet) weights(t *testing.T, name string) []byte {
	t.Helper()
	found, err := f.registry.Resolve(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := f.registry.Fetch(t.Context(), found.Version, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, file := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	return all.Bytes()
}

// worker is a trainer process.
type worker struct {
	cmd   *exec.Cmd
	at    chan string // points at which it waits
	ended chan error

	mu  sync.Mutex
	log strings.Builder
}

// start starts a trainer process with a name and a work folder of its own. It waits at a point of a job, if one is given.
func (f *fleet) start(t *testing.T, edit func(*workerSpec)) *worker {
	t.Helper()
	f.workers++
	spec := f.spec
	spec.Worker, spec.WorkDir = fmt.Sprintf("trainer-%d", f.workers), t.TempDir()
	if edit != nil {
		edit(&spec)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{cmd: exec.Command(self), at: make(chan string, 1), ended: make(chan error, 1)}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	w.cmd.Stderr = w
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.at <- lines.Text()
		}
		w.ended <- w.cmd.Wait()
	}()
	t.Cleanup(func() {
		w.kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", spec.Worker, w.printed())
		}
	})
	return w
}

func (w *worker) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *worker) printed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// waits returns when the process waits at its point.
func (w *worker) waits(t *testing.T) {
	t.Helper()
	select {
	case <-w.at:
	case err := <-w.ended:
		t.Fatalf("the trainer ended before it came to its point: %v\n%s", err, w.printed())
	case <-time.After(late):
		t.Fatalf("the trainer does not come to its point:\n%s", w.printed())
	}
}

// kill ends the process as a power cut does.
func (w *worker) kill() {
	if w.cmd.ProcessState == nil {
		_ = w.cmd.Process.Signal(syscall.SIGKILL) // it may have ended already
		w.ended <- <-w.ended
	}
}

// stop ends the process in good order.
func (w *worker) stop(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-w.ended:
		w.ended <- err
		if err != nil {
			t.Fatalf("the trainer ended with %v:\n%s", err, w.printed())
		}
	case <-time.After(late):
		t.Fatalf("the trainer does not end:\n%s", w.printed())
	}
}

// gate stands before the object store and can hold an upload in the middle of its body.
type gate struct {
	server *httptest.Server

	mu   sync.Mutex
	job  string // both must be in the path of the upload to hold
	part string
	held chan struct{} // closed when the upload is half sent
	gone chan struct{} // closed when its sender is dead
}

func newGate(t *testing.T, endpoint string) *gate {
	t.Helper()
	at, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	proxy := &httputil.ReverseProxy{
		// The host is part of the signature: it goes on as it came.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = at.Scheme, at.Host, r.In.Host
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if held, gone := g.take(r); held != nil {
			r.Body = &halfBody{ReadCloser: r.Body, left: r.ContentLength / 2, held: held, gone: gone}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.server.Close)
	return g
}

// hold lets the next upload of a job whose path has this part stop half-way, and tells when it does. release breaks it
// off: a server does not notice by itself that the sender of a body is dead.
func (g *gate) hold(job, part string) (held <-chan struct{}, release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gone := make(chan struct{})
	g.job, g.part, g.held, g.gone = job, part, make(chan struct{}), gone
	return g.held, func() { close(gone) }
}

func (g *gate) take(r *http.Request) (held, gone chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.part == "" || r.Method != http.MethodPut || !strings.Contains(r.URL.Path, g.job) || !strings.Contains(r.URL.Path, g.part) {
		return nil, nil
	}
	g.part = ""
	return g.held, g.gone
}

// halfBody gives half of a body and then waits until the sender is gone.
type halfBody struct {
	io.ReadCloser
	left int64
	held chan struct{}
	gone <-chan struct{}
}

func (b *halfBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		close(b.held)
		<-b.gone
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
