package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/embedded"
	"descant/pkg/hub"
	"descant/pkg/lifecycle"
	"descant/services/gateway"
	"descant/services/inference"
	"descant/services/tokenizer"
	"descant/services/trainer"
)

// Config is everything that can be configured, each part by the package that it belongs to. docs/configuration.md is made
// of the help tags.
type Config struct {
	// Device computes. Defaults to auto: CUDA, else XLA on the CPU, else pure Go.
	Device string `yaml:"device" help:"compute device: auto, xla, cuda or go"`
	// Worker is the name of this process among all workers. Defaults to the host's name and a number.
	Worker string `yaml:"worker" help:"name of this worker, unique among all (default: from host and process)"`
	// Grace is how long running work may go on after a signal to stop. Defaults to 50s.
	Grace time.Duration `yaml:"grace" help:"how long running work may go on after a signal to stop"`

	Log       lifecycle.LogConfig `yaml:"log" help:"What a process writes to stderr."`
	HTTP      HTTPConfig          `yaml:"http" help:"Health and metrics of a process."`
	Bus       bus.Config          `yaml:"bus" help:"How NATS is reached, and how streams and buckets are kept there."`
	Blob      blob.Config         `yaml:"blob" help:"The S3-compatible object store, which holds datasets, checkpoints and adapters."`
	Hub       hub.Config          `yaml:"hub" help:"Where bases come from, and where they are kept. The defaults follow HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, USE_MODELSCOPE_HUB, MODELSCOPE_DOMAIN and MODELSCOPE_API_TOKEN."`
	Embedded  embedded.Config     `yaml:"embedded" help:"The servers of NATS and S3 inside the process of descant up."`
	Gateway   gateway.Config      `yaml:"gateway" help:"Takes requests, over NATS and HTTP, and looks after jobs."`
	Tokenizer tokenizer.Config    `yaml:"tokenizer" help:"Checks rows and makes tokens of them."`
	Trainer   trainer.Config      `yaml:"trainer" help:"Trains and publishes adapters."`
	Inference inference.Config    `yaml:"inference" help:"Answers with bases and adapters."`
}

// HTTPConfig is about the address for health and metrics.
type HTTPConfig struct {
	// Addr serves /healthz, /readyz and /metrics; port 0 takes a free one, which the log names, and off
	// serves nothing. Defaults to 127.0.0.1:0, as several services of one machine must not collide.
	Addr string `yaml:"addr" help:"address for /healthz, /readyz and /metrics (port 0: any free one; off: none)"`
}

// httpOff as an address serves nothing.
const httpOff = "off"

// validate returns what is wrong with the address.
func (c HTTPConfig) validate() error {
	if c.Addr == httpOff {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("http: addr %q: use host:port such as 127.0.0.1:8080, or off", c.Addr)
	}
	return nil
}

// defaults fits one machine without any configuration.
func defaults() Config {
	cfg := Config{
		Device: device.Auto, Grace: 50 * time.Second,
		Log: lifecycle.LogDefaults(), HTTP: HTTPConfig{Addr: "127.0.0.1:0"}, Bus: bus.Defaults(), Blob: blob.Defaults(), Hub: hub.Defaults(), Embedded: embedded.Defaults(),
		Gateway: gateway.Defaults(), Tokenizer: tokenizer.Defaults(), Trainer: trainer.Defaults(), Inference: inference.Defaults(),
	}
	cfg.Embedded.Dir = filepath.Join(dataHome(), "descant")
	cfg.setWork(filepath.Join(device.CacheDir(), "work"))
	return cfg
}

// setWork gives every service its folder below root.
func (c *Config) setWork(root string) {
	c.Gateway.WorkDir = filepath.Join(root, "gateway")
	c.Tokenizer.WorkDir = filepath.Join(root, "tokenizer")
	c.Trainer.WorkDir = filepath.Join(root, "trainer")
	c.Inference.WorkDir = filepath.Join(root, "inference")
}

func dataHome() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return os.TempDir()
	}
	return filepath.Join(home, ".local", "share")
}

// settle makes every path absolute, because the embedded object store changes the working folder of the
// process, and checks what no package checks for itself.
func (c *Config) settle() error {
	paths := []*string{&c.Embedded.Dir, &c.Hub.CacheDir, &c.Hub.WorkDir, &c.Gateway.WorkDir, &c.Tokenizer.WorkDir, &c.Trainer.WorkDir, &c.Inference.WorkDir, &c.Bus.CA, &c.Bus.Credentials}
	for i := range c.Hub.LocalDirs {
		paths = append(paths, &c.Hub.LocalDirs[i])
	}
	for _, path := range paths {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		*path = abs
	}
	if c.Grace <= 0 {
		return errors.New("configuration: grace must be positive, for example 50s")
	}
	return c.HTTP.validate()
}

// workerName names a worker of one kind: letters, digits, - and _, as it becomes a part of subjects.
func (c *Config) workerName(kind string) string {
	name := c.Worker
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "host"
		}
		name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, name)
	return kind + "-" + clean
}
