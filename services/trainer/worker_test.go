package trainer

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/lifecycle"
	"descant/pkg/registry"
)

// workerEnv, when it is set, makes this test binary a trainer: a process that can be killed.
const workerEnv = "DESCANT_TEST_TRAINER"

// ackWait is the silence after which a killed worker's job goes to another.
const ackWait = 2 * time.Second

// workerSpec says what a trainer process works with and where it stops.
type workerSpec struct {
	NATS, S3, AccessKey, SecretKey string
	Worker, WorkDir                string
	Base, BaseDigest               string
	Kind                           string // of device; empty is the one that compiles nothing
	// Job and At are the point at which it says so and waits: to be killed or, with Hold, for the end of the training's
	// context.
	Job, At string
	Hold    bool
}

func TestMain(m *testing.M) {
	if text := os.Getenv(workerEnv); text != "" {
		if err := work(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// work is the main of a trainer process: what `descant trainer` wires, with a point at which it stops.
func work(text string) error {
	var spec workerSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	ctx, hurry, release := lifecycle.Signals(context.Background())
	defer release()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	b, err := bus.Connect(ctx, busConfig(spec.NATS), log)
	if err != nil {
		return err
	}
	defer b.Close()
	objects, err := blob.Open(ctx, blobConfig(spec.S3, spec.AccessKey, spec.SecretKey))
	if err != nil {
		return err
	}
	if spec.Kind == "" {
		spec.Kind = device.Go
	}
	dev, err := device.Open(spec.Kind)
	if err != nil {
		return err
	}
	cfg := Defaults()
	cfg.WorkDir = spec.WorkDir
	service, err := New(cfg, Deps{
		Bus: b, Objects: objects, Registry: registry.New(objects, b.Registry()), Bases: oneBase(registry.Base{Dir: spec.Base, Digest: spec.BaseDigest}),
		Device: dev, Worker: spec.Worker, Version: "0.0.0", Log: log,
	})
	if err != nil {
		return err
	}
	service.point = func(ctx context.Context, job, at string) {
		if job != spec.Job || at != spec.At {
			return
		}
		fmt.Println("at", at)
		if !spec.Hold {
			select {} // until it is killed
		}
		<-ctx.Done()
	}
	return lifecycle.Runner{Grace: late, Hurry: hurry, Log: log}.Run(ctx, lifecycle.Service{Name: "trainer", Run: service.Run})
}

// oneBase is the base under every name.
type oneBase registry.Base

func (b oneBase) Base(context.Context, string) (registry.Base, error) { return registry.Base(b), nil }

func busConfig(url string) bus.Config {
	cfg := bus.Defaults()
	cfg.URL, cfg.AckWait = url, ackWait
	return cfg
}

func blobConfig(endpoint, access, secret string) blob.Config {
	cfg := blob.Defaults()
	cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = endpoint, access, lifecycle.NewSecret(secret)
	return cfg
}
