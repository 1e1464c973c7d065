package systemtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
	"descant/pkg/lifecycle"
	"descant/pkg/registry"
)

// System is a running installation and the clients of somebody who uses it.
type System struct {
	NATSURL  string
	Base     string // folder of the base model that the services may open
	Bus      *bus.Bus
	Objects  *blob.Store
	Registry *registry.Registry
	// APIURL and APIKey reach the HTTP API of a composed system.
	APIURL, APIKey string

	// Services are the processes by their role; in one process all are the same.
	Services map[string]*Process
	// StartService starts one more service of a role, or the whole of a one-process system again.
	StartService func(t testing.TB, role string, env ...string) *Process

	test                            testing.TB // with whose end everything is stopped
	endpoint, accessKey, secretFile string
}

// ackWait is the silence after which a killed worker's job goes on elsewhere.
const ackWait = 3 * time.Second

// Roles are the four services.
var Roles = []string{"gateway", "tokenizer", "trainer", "inference"}

// common is the environment of every service: small answers from short waits, so that the test of a
// crash need not wait for a production's patience.
func common(base, work string) []string {
	return []string{
		"DESCANT_HUB_LOCAL_DIRS=" + base,
		"DESCANT_HUB_WORK_DIR=" + filepath.Join(work, "models"),
		"DESCANT_BUS_ACK_WAIT=" + ackWait.String(),
		"DESCANT_GATEWAY_RECONCILE=1s",
		"DESCANT_GATEWAY_ADDR=127.0.0.1:0",
		"DESCANT_DEVICE=go", // compiles nothing: a job of a few steps takes a second
		"DESCANT_LOG_FORMAT=json",
		"DESCANT_GATEWAY_WORK_DIR=" + filepath.Join(work, "gateway"),
		"DESCANT_TOKENIZER_WORK_DIR=" + filepath.Join(work, "tokenizer"),
		"DESCANT_TRAINER_WORK_DIR=" + filepath.Join(work, "trainer"),
		"DESCANT_INFERENCE_WORK_DIR=" + filepath.Join(work, "inference"),
		"DESCANT_INFERENCE_SLOTS=4",
	}
}

// OneProcess starts `descant up` with everything in one process; more is added to its environment at every start.
func OneProcess(t testing.TB, more ...string) *System {
	t.Helper()
	s := &System{test: t, Base: filepath.Join(t.TempDir(), "base"), Services: map[string]*Process{}}
	TinyBase(t, s.Base)
	dir, nats, s3 := t.TempDir(), servertest.FreeAddress(t), servertest.FreeAddress(t)
	s.NATSURL = "nats://" + nats
	s.StartService = func(t testing.TB, _ string, env ...string) *Process {
		t.Helper()
		http := servertest.FreeAddress(t)
		env = append(append(common(s.Base, filepath.Join(dir, "work")), "DESCANT_HTTP_ADDR="+http,
			"DESCANT_EMBEDDED_DIR="+dir, "DESCANT_EMBEDDED_NATS_ADDR="+nats, "DESCANT_EMBEDDED_S3_ADDR="+s3), append(more, env...)...)
		p := Start(t, Command{Name: "descant up", Args: []string{"up"}, Env: env, Keep: s.test, Ready: "http://" + http + "/readyz"})
		for _, role := range Roles {
			s.Services[role] = p
		}
		return p
	}
	s.StartService(t, "")
	var keys struct {
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "s3-credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &keys); err != nil {
		t.Fatal(err)
	}
	s.connect(t, "http://"+s3, keys.AccessKey, keys.SecretKey)
	return s
}

// Distributed starts a NATS server, a MinIO server and each service as a process of its own.
func Distributed(t testing.TB) *System {
	t.Helper()
	s := &System{test: t, Base: filepath.Join(t.TempDir(), "base"), Services: map[string]*Process{}}
	TinyBase(t, s.Base)
	nats, minio := servertest.StartNATS(t), servertest.StartMinIO(t)
	s.NATSURL = nats.URL
	s.connect(t, minio.Endpoint, minio.AccessKey, minio.SecretKey)
	s.StartService = func(t testing.TB, role string, env ...string) *Process {
		t.Helper()
		p := s.start(t, s.test, role, env...)
		s.Services[role] = p
		return p
	}
	for _, role := range Roles {
		s.StartService(t, role)
	}
	return s
}

// StartExtra starts a service of a role as a process of its own, beside those that run, until t ends.
func (s *System) StartExtra(t testing.TB, role string, env ...string) *Process {
	t.Helper()
	return s.start(t, t, role, env...)
}

func (s *System) start(t, keep testing.TB, role string, env ...string) *Process {
	t.Helper()
	http := servertest.FreeAddress(t)
	env = slices.Concat(common(s.Base, keep.TempDir()), []string{"DESCANT_HTTP_ADDR=" + http}, s.Env(), env)
	return Start(t, Command{Name: role, Args: []string{role}, Env: env, Keep: keep, Ready: "http://" + http + "/readyz"})
}

// Env is what a command line needs to reach the system.
func (s *System) Env() []string {
	return []string{"DESCANT_BUS_URL=" + s.NATSURL, "DESCANT_BLOB_ENDPOINT=" + s.endpoint, "DESCANT_BLOB_ACCESS_KEY=" + s.accessKey,
		"DESCANT_BLOB_SECRET_KEY_FILE=" + s.secretFile}
}

// connect makes the clients.
func (s *System) connect(t testing.TB, endpoint, accessKey, secretKey string) {
	t.Helper()
	s.endpoint, s.accessKey, s.secretFile = endpoint, accessKey, filepath.Join(t.TempDir(), "s3_secret_key")
	if err := os.WriteFile(s.secretFile, []byte(secretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store := blob.Defaults()
	store.Endpoint, store.AccessKey, store.SecretKey = endpoint, accessKey, lifecycle.NewSecret(secretKey)
	var err error
	if s.Objects, err = blob.Open(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	wire := bus.Defaults()
	wire.URL, wire.Name = s.NATSURL, "systemtest"
	wire.AckWait = ackWait
	if s.Bus, err = bus.Connect(t.Context(), wire, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Bus.Close() })
	s.Registry = registry.New(s.Objects, s.Bus.Registry())
}
