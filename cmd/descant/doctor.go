package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/hub"
)

// finding is one thing that the doctor looked at.
type finding struct {
	Name string `json:"name"`
	// State is ok, missing (the rest works without it) or broken.
	State  string  `json:"state"`
	Detail string  `json:"detail"`
	Mend   string  `json:"mend,omitempty"`
	GFLOPS float64 `json:"gflops,omitempty"`
	// BF16GFLOPS is the speed of bf16 products where a device uses them.
	BF16GFLOPS float64 `json:"bf16_gflops,omitempty"`
}

const (
	stateOK      = "ok"
	stateMissing = "missing"
	stateBroken  = "broken"
)

func (a *app) doctorCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use: "doctor", Short: "Say what is installed, what works and how fast, and how to mend the rest",
		Long: `Say what is installed, what works and how fast, and how to mend the rest. Every compute backend multiplies
a matrix; the servers of the configuration are asked for an answer. The exit code is 1 if something is broken:
nothing can compute, or a device or a server that the configuration names does not answer. A server that
nobody named is only reported, since ` + "`descant train` and `descant chat`" + ` bring their own.`,
		Example: "  descant doctor\n  descant doctor --json --bus-url nats://nats:4222",
	}, "device bus blob hub", func(ctx context.Context, _ []string) error {
		findings := a.examine(ctx)
		broken := brokenOf(findings)
		err := a.print(map[string]any{"version": buildVersion(), "ok": len(broken) == 0, "findings": findings}, func() {
			for _, f := range findings {
				fmt.Fprintf(a.out, "%-8s %-14s %s\n", f.State, f.Name, f.Detail)
				if f.Mend != "" {
					fmt.Fprintf(a.out, "         %-14s → %s\n", "", f.Mend)
				}
			}
		})
		if err == nil && len(broken) > 0 {
			return &exitError{code: exitFailed, told: true, err: fmt.Errorf("broken: %s; the list says how to mend it", strings.Join(broken, ", "))}
		}
		return err
	})
}

// examine looks at everything.
func (a *app) examine(ctx context.Context) []finding {
	findings := append([]finding{machine(), disk(device.CacheDir()), libtokenizers()}, a.devices()...)
	return append(findings, a.server(ctx), a.store(ctx), a.models())
}

// brokenOf names what keeps the product from working.
func brokenOf(findings []finding) (names []string) {
	for _, f := range findings {
		if f.State == stateBroken {
			names = append(names, f.Name)
		}
	}
	return names
}

// devices lets every backend compute. One that does not is broken if the configuration chose it, or if
// none is left.
func (a *app) devices() (findings []finding) {
	computes := false
	for _, kind := range device.Kinds() {
		if kind == device.Auto {
			continue
		}
		p := device.Probe(kind)
		f := finding{Name: "device " + kind, State: stateOK, GFLOPS: p.GFLOPS, BF16GFLOPS: p.BF16GFLOPS, Detail: speedText(p)}
		if !p.OK {
			f.State, f.Detail, f.Mend = stateMissing, p.Error, mendDevice(kind)
			if a.cfg.Device == kind {
				f.State = stateBroken
			}
		}
		computes = computes || p.OK
		findings = append(findings, f)
	}
	if !computes {
		for i := range findings {
			findings[i].State = stateBroken
		}
	}
	return findings
}

// speedText tells the speeds of a device, and whether dtype bf16 would gain time on it.
func speedText(p device.ProbeResult) string {
	text := fmt.Sprintf("%s: %.0f GFLOP/s in f32", p.Name, p.GFLOPS)
	if p.BF16GFLOPS == 0 {
		return text
	}
	text += fmt.Sprintf(", %.0f in bf16", p.BF16GFLOPS)
	if p.Kind == device.XLA && !device.CPUFacts().FastBF16() {
		text += "; this processor multiplies bf16 no faster than f32: training with dtype bf16 saves memory here, but no time"
	}
	return text
}

func mendDevice(kind string) string {
	switch kind {
	case device.XLA:
		return "`make setup` installs the XLA CPU plugin"
	case device.CUDA:
		return "it needs an NVIDIA GPU with its driver and a CUDA plugin (pip install jax-cuda13-plugin[with-cuda]); descant works without"
	}
	return "report this: the pure-Go backend is part of the program"
}

// absent is the state of a server that does not answer: broken if the configuration names it.
func (a *app) absent(key string) string {
	for _, f := range a.loader.Fields() {
		if f.Key() == key && f.Source != "default" {
			return stateBroken
		}
	}
	return stateMissing
}

func machine() finding {
	cpu, mem := device.CPUFacts(), device.MemoryFacts()
	f := finding{Name: "machine", State: stateOK, Detail: fmt.Sprintf("%s/%s, %s, %d cores (%s), memory %s, %s free", runtime.GOOS, runtime.GOARCH,
		cpu.Model, cpu.Cores, strings.Join(cpu.Flags, " "), bytesText(mem.Total), bytesText(mem.Available))}
	if mem.Available > 0 && mem.Available < 4<<30 {
		f.Mend = "less than 4 GiB are free: a 0.5B base needs 2 to 4 GiB; close other programs or use a smaller base"
	}
	return f
}

func disk(dir string) finding {
	at := dir
	for at != "/" && at != "." {
		if _, err := os.Stat(at); err == nil {
			break
		}
		at = filepath.Dir(at)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(at, &st); err != nil {
		return finding{Name: "cache", State: stateBroken, Detail: fmt.Sprintf("%s: %v", dir, err), Mend: "set DESCANT_CACHE to a folder that can be written"}
	}
	free := int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // Bsize is an int64 on Linux and a uint32 on macOS
	f := finding{Name: "cache", State: stateOK, Detail: fmt.Sprintf("%s, %s free", dir, bytesText(free))}
	if free < 3<<30 {
		f.Mend = "less than 3 GiB are free: a 0.5B base takes 1 GiB, its training about as much; set DESCANT_CACHE to a larger disk"
	}
	return f
}

// libtokenizers is linked into this program: that it runs shows that the library works.
func libtokenizers() finding {
	return finding{Name: "tokenizers", State: stateOK, Detail: "built in"}
}

func (a *app) server(ctx context.Context) finding {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	at := a.cfg.Bus.URL
	log, err := a.logger(true)
	if err == nil {
		var b *bus.Bus
		if b, err = bus.Connect(ctx, a.clientBus(), log); err == nil {
			err = b.Ready(ctx)
			if closeErr := b.Close(); err == nil {
				err = closeErr
			}
		}
	}
	if err != nil {
		return finding{Name: "nats", State: a.absent("bus.url"), Detail: fmt.Sprintf("%s: %v", at, err),
			Mend: "start `descant up`, or give the address of a running server with --bus-url; `descant train` and `chat` need none"}
	}
	return finding{Name: "nats", State: stateOK, Detail: at + " answers, JetStream is on"}
}

func (a *app) store(ctx context.Context) finding {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	at := a.cfg.Blob.Endpoint
	s, err := blob.Open(ctx, a.clientConfig().Blob)
	if err == nil {
		err = s.Ready(ctx)
	}
	if err != nil {
		return finding{Name: "object store", State: a.absent("blob.endpoint"), Detail: fmt.Sprintf("%s: %v", at, err),
			Mend: "start `descant up`, or give the address of a running store with --blob-endpoint; `descant train` and `chat` need none"}
	}
	return finding{Name: "object store", State: stateOK, Detail: at + " answers, bucket " + a.cfg.Blob.Bucket}
}

func (a *app) models() finding {
	cached, err := hub.Cached(a.cfg.Hub)
	if err != nil {
		return finding{Name: "models", State: stateBroken, Detail: err.Error(), Mend: "check HF_HOME"}
	}
	detail := fmt.Sprintf("%d in %s; hub %s", len(cached), a.cfg.Hub.CacheDir, a.cfg.Hub.Endpoint)
	if a.cfg.Hub.Offline {
		detail += " (offline mode)"
	}
	return finding{Name: "models", State: stateOK, Detail: detail}
}
