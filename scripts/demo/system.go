package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"descant/models"
	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/hub"
	"descant/pkg/lifecycle"
	"descant/scripts/up"
)

// system is a running `descant up` and our connections to it, those of any other program.
type system struct {
	*up.System

	data  string // its folder
	base  string // the files of the tiny base
	store blob.Config
	bus   *bus.Bus
}

// start runs `descant up` on free ports and connects to it.
func start(ctx context.Context, binary, data string) (_ *system, err error) {
	s := &system{data: data}
	options := hub.Options{Config: hub.Defaults()}
	if options.Builtin, err = models.Builtin(); err != nil {
		return nil, fmt.Errorf("built-in models: %w", err)
	}
	options.WorkDir = filepath.Join(data, "base")
	snapshot, err := hub.Resolve(ctx, "builtin:tiny", options)
	if err != nil {
		return nil, err
	}
	s.base = snapshot.Dir

	fmt.Printf("%s up\n", filepath.Base(binary))
	if s.System, err = up.Start(ctx, binary, filepath.Join(data, "up")); err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *system) connect(ctx context.Context) error {
	data, err := os.ReadFile(s.Credentials)
	if err != nil {
		return fmt.Errorf("read the keys of the object store: %w", err)
	}
	var keys struct {
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
	}
	if err := json.Unmarshal(data, &keys); err != nil {
		return fmt.Errorf("read the keys of the object store: %w", err)
	}
	s.store = blob.Defaults()
	s.store.Endpoint, s.store.Bucket = s.S3, s.Bucket
	s.store.AccessKey, s.store.SecretKey = keys.AccessKey, lifecycle.NewSecret(keys.SecretKey)
	cfg := bus.Defaults()
	cfg.URL, cfg.Name = s.NATS, "demo"
	s.bus, err = bus.Connect(ctx, cfg, slog.New(slog.DiscardHandler))
	fmt.Printf("ready: NATS at %s, object store at %s\n", s.NATS, s.S3)
	return err
}

// stop ends the connections and the process; stopping twice is fine.
func (s *system) stop() error {
	var err error
	if s.bus != nil {
		err = s.bus.Close()
		s.bus = nil
	}
	return errors.Join(err, s.Stop())
}
