package inference

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/chat"
	"descant/pkg/device"
	"descant/pkg/embedded/servertest"
	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/safetensors"
)

// fleet is a bus, an object store that can be stopped, and workers on the tiny base.
type fleet struct {
	bus      *bus.Bus
	registry *registry.Registry
	base     registry.Base
	dev      *device.Device
	store    *proxy
	objects  *blob.Store
	maker    *maker
}

// Base makes the fleet the place from which bases come: the tiny one is always there.
func (f *fleet) Base(_ context.Context, ref string) (registry.Base, error) {
	if ref != f.base.Ref {
		return registry.Base{}, job.UserError(job.CodeModelMissing, "no base "+ref, "")
	}
	return f.base, nil
}

// registryOver is the fleet's registry as it is seen through another bucket.
func (f *fleet) registryOver(entries registry.Bucket) *registry.Registry {
	return registry.New(f.objects, entries)
}

// newFleet computes with the pure-Go backend, which compiles nothing.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := fleetOn(t, device.Go)
	f.maker = newMaker(t, f.dev, f.base)
	return f
}

// fleetOn is a fleet that makes no adapters.
func fleetOn(t *testing.T, kind string) *fleet {
	t.Helper()
	minio := servertest.StartMinIO(t)
	store := newProxy(t, strings.TrimPrefix(minio.Endpoint, "http://"))
	objects := blob.Defaults()
	objects.Endpoint, objects.AccessKey, objects.SecretKey = "http://"+store.listener.Addr().String(), minio.AccessKey, lifecycle.NewSecret(minio.SecretKey)
	opened, err := blob.Open(t.Context(), objects)
	if err != nil {
		t.Fatal(err)
	}
	wire := bus.Defaults()
	wire.URL = servertest.StartNATS(t).URL
	b, err := bus.Connect(t.Context(), wire, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	dev, err := device.Open(kind)
	if err != nil {
		t.Fatal(err)
	}
	return &fleet{bus: b, registry: registry.New(opened, b.Registry()), dev: dev, store: store, objects: opened,
		base: registry.Base{Ref: "builtin:tiny", Dir: tinyDir, Digest: "sha256:tiny"}}
}

// worker starts a worker that sees the registry through entries, and waits until it is ready.
func (f *fleet) worker(t *testing.T, name string, reg *registry.Registry, change func(*Config)) *Service {
	t.Helper()
	s := f.newWorker(t, name, reg, change)
	f.run(t, s)
	select {
	case <-s.Ready():
	case <-time.After(3 * time.Minute):
		t.Fatalf("worker %s is not ready", name)
	}
	return s
}

// newWorker makes a worker.
func (f *fleet) newWorker(t *testing.T, name string, reg *registry.Registry, change func(*Config)) *Service {
	t.Helper()
	cfg := Defaults()
	cfg.MaxContext, cfg.MaxRows, cfg.Slots, cfg.MaxRank, cfg.WorkDir, cfg.Warm, cfg.Model = 64, 4, 2, 1, t.TempDir(), false, f.base.Ref
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, Deps{Bus: f.bus, Registry: reg, Bases: f, Device: f.dev, Worker: name, Version: "0.0.0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a worker until the end of the test.
func (f *fleet) run(t *testing.T, s *Service) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("worker %s: %v", s.deps.Worker, err)
		}
	})
}

// ask sends one question to a worker and returns its answer of one token and who gave it.
func (f *fleet) ask(ctx context.Context, worker, model string) (text, by string, err error) {
	req := &pb.ChatRequest{Model: model, Prompt: question, MaxTokens: 1, Temperature: ptr(0.0)}
	for chunk, err := range f.bus.Chat(ctx, bus.WorkerSubject(worker), req, time.Minute) {
		if err != nil {
			return "", "", err
		}
		text += chunk.GetDelta()
		by = cmp.Or(chunk.GetModel(), by)
	}
	return text, by, nil
}

// wants fails the test unless a model gives an answer on the first worker.
func (f *fleet) wants(t *testing.T, model, want string) {
	t.Helper()
	if got, by, err := f.ask(t.Context(), "w-1", model); err != nil || got != want {
		t.Errorf("%s answers %q by %s, %v; want %q", model, got, by, err, want)
	}
}

// until waits for a state of an adapter on a worker.
func (f *fleet) until(t *testing.T, worker, digest, state string) *pb.AdapterState {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := "nothing"
	for one, err := range f.bus.WatchAdverts(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if one.Worker != worker {
			continue
		}
		for _, at := range one.Info.GetAdapters() {
			if at.GetDigest() != digest {
				continue
			}
			if seen = at.GetState() + " " + at.GetReason(); at.GetState() == state {
				return at
			}
		}
	}
	t.Fatalf("%s on %s is %s, want %s", digest, worker, seen, state)
	return nil
}

const question = "1"

// maker makes adapters that answer the question with a certain token.
type maker struct {
	engine  *generate.Engine
	config  *model.Config
	text    *language
	weights []float32 // the base's embedding, [vocab, hidden]
	prompt  []int32
	tokens  []int32 // that can be answered, each one a text of its own
	mu      sync.Mutex
}

func newMaker(t *testing.T, dev *device.Device, base registry.Base) *maker {
	t.Helper()
	cfg, err := model.ReadConfig(base.Dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := safetensors.OpenDir(base.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	m := &maker{config: cfg, text: tinyLanguage(t)}
	if m.weights, err = set.Float32("model.embed_tokens.weight"); err != nil {
		t.Fatal(err)
	}
	m.weights = slices.Clone(m.weights)
	if m.engine, err = generate.New(dev, base.Dir, generate.Options{MaxContext: 64, MaxRows: 1, Slots: 1, MaxRank: 1, UsedVocab: m.text.tokenizer.VocabSize()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.engine.Close)
	if m.prompt, err = m.text.prompt([]chat.Message{chat.NewMessage("user", question)}, nil); err != nil {
		t.Fatal(err)
	}
	for id := range int32(m.text.tokenizer.VocabSize()) {
		if text := m.text.tokenizer.Decode([]int32{id}, true); strings.TrimSpace(text) != "" && !strings.Contains(text, "�") {
			m.tokens = append(m.tokens, id)
		}
	}
	return m
}

// make writes an adapter that answers the n-th possible token, and returns its folder, the answer and a true probe. It
// sends the last layer's state towards the token's own direction; which sign the question's activations need is tried.
func (m *maker) make(t *testing.T, n int) (dir, answer string, probe *pb.Probe) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	bare, err := m.engine.Probe(t.Context(), "", m.prompt)
	if err != nil {
		t.Fatal(err)
	}
	for at := n; ; at++ { // a few tokens stand in the shadow of another one
		id := m.tokens[at%len(m.tokens)]
		for _, scale := range []float32{1, -1} {
			dir = m.write(t, id, 30*scale)
			if err := m.engine.LoadAdapter(t.Context(), "made", dir); err != nil {
				t.Fatal(err)
			}
			logits, err := m.engine.Probe(t.Context(), "made", m.prompt)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Index(logits, slices.Max(logits)) == int(id) {
				probe = &pb.Probe{Prompt: m.prompt, Ids: []int32{id}, Logits: []float32{logits[id]}, BaseLogits: []float32{bare[id]}, Dtype: "f32"}
				return dir, m.text.tokenizer.Decode([]int32{id}, true), probe
			}
		}
	}
}

func (m *maker) write(t *testing.T, id int32, scale float32) string {
	t.Helper()
	last := m.config.Layers - 1
	config := &lora.Config{R: 1, Alpha: 1, Targets: []string{"down_proj"}, Layers: []int{last}}
	plan, err := lora.NewPlan(m.config, config)
	if err != nil {
		t.Fatal(err)
	}
	a := &lora.Adapter{Plan: plan, Flats: make([][]float32, m.config.Layers)}
	module := plan.Layers[last][0]
	flat := make([]float32, plan.Size(last))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range module.In {
		flat[module.A+i] = float32(random.NormFloat64())
	}
	for o := range module.Out {
		flat[module.B+o] = scale * m.weights[int(id)*m.config.Hidden+o]
	}
	a.Flats[last] = flat
	dir := t.TempDir()
	if err := a.Save(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// publish makes and publishes the next version of a name, which answers with the n-th token.
func (f *fleet) publish(t *testing.T, name string, n int, change func(*pb.AdapterManifest)) (found registry.Resolved, answer string) {
	t.Helper()
	dir, answer, probe := f.maker.make(t, n)
	manifest := f.manifest(name, fmt.Sprintf("ft-%s-%d-%d", name, n, time.Now().UnixNano()), f.maker.text, probe)
	if change != nil {
		change(manifest)
	}
	found, err := f.registry.Publish(t.Context(), dir, manifest)
	if err != nil {
		t.Fatal(err)
	}
	return found, answer
}

// manifest describes an adapter as a trainer does.
func (f *fleet) manifest(name, by string, text *language, probe *pb.Probe) *pb.AdapterManifest {
	return &pb.AdapterManifest{Name: name, Job: by, Base: f.base.Ref, BaseDigest: f.base.Digest, TokenizerDigest: text.tokenizer.Digest(),
		TemplateDigest: text.tokenizer.TemplateDigest(), CreatedAt: bus.Timestamp(time.Now()), Probe: probe}
}

// proxy stands before a server, so that a test can take the server away from its clients.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	open     []net.Conn
	stopped  bool
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(context.WithoutCancel(t.Context()), "tcp", to)
			if err != nil {
				_ = client.Close() // it sees a broken connection, as it should
				continue
			}
			p.keep(client, server)
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				running.Go(func() {
					_, _ = io.Copy(way[0], way[1]) // ends with either side
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() { p.stop(); running.Wait() })
	return p
}

func (p *proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, conns...)
	if p.stopped {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// stop breaks all connections and takes no new ones.
func (p *proxy) stop() {
	_ = p.listener.Close() // again is fine
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, conn := range p.open {
		_ = conn.Close()
	}
}
