package main

import (
	"context"
	"fmt"
	"path/filepath"

	"descant/pkg/hub"
	"descant/services/gateway"
)

// startPrivate runs a system of its own for one command: embedded servers on free ports with their data in
// dir. Nobody else can reach into it, so it may open any local path that the command line names.
func (a *app) startPrivate(ctx context.Context, dir string) (*system, error) {
	log, err := a.logger(true)
	if err != nil {
		return nil, err
	}
	cfg := a.cfg
	cfg.Embedded.Dir = filepath.Join(dir, "data")
	cfg.Embedded.NATSAddr, cfg.Embedded.S3Addr = "127.0.0.1:0", "127.0.0.1:0"
	cfg.HTTP.Addr, cfg.Gateway.Addr = httpOff, gateway.AddrOff
	cfg.setWork(filepath.Join(dir, "work"))
	cfg.Hub.LocalDirs = []string{"/"}
	cfg.Worker = "private" // a second start takes over what the first one left
	s, err := startEmbedded(ctx, cfg, log)
	if err != nil {
		return nil, fmt.Errorf("start the services: %w", err)
	}
	return s, nil
}

// base finds the model of a command line before any service starts: a download shows its progress, a
// mistake is told at once. The name is absolute if it is a folder.
func (a *app) base(ctx context.Context, model string) (name string, snapshot *hub.Snapshot, err error) {
	cfg := a.cfg
	cfg.Hub.LocalDirs = []string{"/"}
	opts, err := hubOptions(cfg, nil)
	if err != nil {
		return "", nil, err
	}
	if path, err := localFile(model); err != nil {
		return "", nil, err
	} else if path != "" {
		model = path
	}
	snapshot, err = a.fetchModel(ctx, model, opts)
	return model, snapshot, err
}
