package device

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/go-xla/compute/xla"
)

// Kinds of devices, as [Open] takes them.
const (
	// Auto takes CUDA where a GPU and its plugin are present, else XLA on the CPU, else pure Go.
	Auto = "auto"
	// XLA is XLA on the CPU, through the plugin that `make setup` installs.
	XLA = "xla"
	// CUDA is XLA on an NVIDIA GPU, through a plugin that is already on the machine.
	CUDA = "cuda"
	// Go is the pure-Go backend: always there, several times slower than XLA.
	Go = "go"
)

// ErrMissing is wrapped by every error of [Open] that says that a part is not installed.
var ErrMissing = errors.New("native part missing")

// Kinds lists what [Open] accepts.
func Kinds() []string { return []string{Auto, XLA, CUDA, Go} }

// Device is an opened compute backend.
//
// All devices of one kind in a process share one backend: an XLA plugin is a process-wide library with its own
// thread pool, and a second client of it would only double the memory.
type Device struct {
	kind    string
	plugin  string
	backend compute.Backend
}

// Backend is what graphs are compiled and run on.
func (d *Device) Backend() compute.Backend { return d.backend }

// Kind is one of [XLA], [CUDA] and [Go]; never [Auto].
func (d *Device) Kind() string { return d.kind }

// Plugin is the absolute path of the XLA plugin, empty for pure Go.
func (d *Device) Plugin() string { return d.plugin }

// Name says in words what computes, for logs and `descant doctor`.
func (d *Device) Name() string {
	switch d.kind {
	case XLA:
		return "XLA on the CPU"
	case CUDA:
		return "XLA on CUDA: " + d.backend.DeviceDescription(0)
	default:
		return "pure Go"
	}
}

// SharedBuffers says whether buffers of this device can be read and written from Go without a copy.
func (d *Device) SharedBuffers() bool { return d.backend.HasSharedBuffers() }

// Close ends this use of the device. The backend itself lives until the process ends: its plugin cannot be
// unloaded, and tensors that still wait for the garbage collector belong to it.
func (d *Device) Close() {}

// Open opens the backend of the given kind (see [Kinds]; "" is [Auto]).
//
// For [Auto] the environment variable DESCANT_DEVICE, where set, names the kind. Opening a kind twice gives the
// same backend. Errors about something that is not installed wrap [ErrMissing] and say what to run.
func Open(kind string) (*Device, error) {
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind == "" || kind == Auto {
		kind = Auto
		if env := strings.ToLower(strings.TrimSpace(os.Getenv("DESCANT_DEVICE"))); env != "" {
			kind = env
		}
	}
	switch kind {
	case Auto:
		return openAuto()
	case XLA, CUDA, Go:
		return opened.get(kind)
	default:
		return nil, fmt.Errorf("device %q is not known: choose one of %s", kind, strings.Join(Kinds(), ", "))
	}
}

func openAuto() (*Device, error) {
	for _, kind := range []string{CUDA, XLA} {
		d, err := opened.get(kind)
		if err == nil {
			return d, nil
		}
		// A part that is absent is no reason to stop; one that is present and broken is.
		if !errors.Is(err, ErrMissing) {
			return nil, err
		}
	}
	return opened.get(Go)
}

// table holds the one backend per kind of this process.
type table struct {
	mu      sync.Mutex
	devices map[string]*Device
}

// opened is process-wide because the plugins are.
var opened = &table{devices: map[string]*Device{}}

func (t *table) get(kind string) (*Device, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d, ok := t.devices[kind]; ok {
		return d, nil
	}
	d, err := open(kind)
	if err != nil {
		return nil, err
	}
	t.devices[kind] = d
	return d, nil
}

func open(kind string) (*Device, error) {
	if kind == Go {
		// Operations that run side by side each wait for workers for their own parts. With as many such operations as
		// there are workers nobody is left to run the parts, and all wait for ever (compute v0.1.3, Pool.Saturate). One
		// after the other they still use all cores.
		backend, err := gobackend.New("ops_sequential")
		if err != nil {
			return nil, fmt.Errorf("open device go: %w", err)
		}
		return &Device{kind: Go, backend: backend}, nil
	}
	plugin, err := findPlugin(kind)
	if err != nil {
		return nil, err
	}
	if err := checkXLAFlags(os.Getenv("XLA_FLAGS")); err != nil {
		return nil, err
	}
	// A relative name would let go-xla look for plugins elsewhere and download one; the absolute path never does.
	xla.EnableAutoInstall(false)
	options := plugin
	if kind == CUDA {
		// The reference is f32; TF32 keeps ten bits of the mantissa.
		options += ",tf32=false,preallocate=false"
	}
	backend, err := xla.New(options)
	if err != nil {
		return nil, fmt.Errorf("open device %s: plugin %s does not start: %w; run `descant doctor`, or delete the file "+
			"and run `make setup`", kind, plugin, err)
	}
	return &Device{kind: kind, plugin: plugin, backend: backend}, nil
}

// checkXLAFlags refuses values that are certain to end the process: XLA aborts, without an error that could be
// reported, on anything in XLA_FLAGS that is neither a flag nor a file of flags.
func checkXLAFlags(value string) error {
	for _, flag := range strings.Fields(value) {
		if strings.HasPrefix(flag, "--") {
			continue
		}
		if _, err := os.Stat(flag); err != nil {
			return fmt.Errorf("XLA_FLAGS holds %q, which is neither a flag (--xla_…) nor a file: unset XLA_FLAGS or mend "+
				"it, XLA ends the process on it", flag)
		}
	}
	return nil
}
