package device

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProbeComputesOnEveryDeviceOfTheCPU(t *testing.T) {
	for _, kind := range []string{XLA, Go} {
		r := Probe(kind)
		if !r.OK || r.Kind != kind || r.GFLOPS <= 0 {
			t.Errorf("Probe(%s) = %+v", kind, r)
		}
		if r.BF16GFLOPS > 0 != (kind == XLA) {
			t.Errorf("Probe(%s) = %+v: bf16 is for XLA alone", kind, r)
		}
		t.Logf("%s: %.0f GFLOP/s, in bf16 %.0f", r.Name, r.GFLOPS, r.BF16GFLOPS)
	}
}

func TestOpenGivesOneBackendPerKind(t *testing.T) {
	first, err := Open(Go)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	second, err := Open(" GO ")
	if err != nil {
		t.Fatal(err)
	}
	if first.Backend() != second.Backend() || second.Backend().IsFinalized() {
		t.Error("a second Open gave another backend, or a closed one")
	}
}

func TestOpenErrorsSayWhatToDo(t *testing.T) {
	cases := []struct {
		name, kind string
		env        map[string]string
		missing    bool
		want       []string
	}{
		{"unknown kind", "tpu", nil, false, []string{`"tpu"`, "auto, xla, cuda, go"}},
		{"no plugin in the cache", XLA, map[string]string{"DESCANT_CACHE": t.TempDir()}, true,
			[]string{"xla_cpu_pjrt.so", "make setup", "descant doctor"}},
		{"wrong plugin name", XLA, map[string]string{"DESCANT_XLA_PLUGIN": "/nowhere/x.so"}, true,
			[]string{"DESCANT_XLA_PLUGIN", "/nowhere/x.so"}},
		{"wrong CUDA plugin name", CUDA, map[string]string{"DESCANT_CUDA_PLUGIN": "/nowhere/c.so"}, true,
			[]string{"DESCANT_CUDA_PLUGIN", "/nowhere/c.so"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			var err error
			if c.kind == XLA || c.kind == CUDA {
				// Not through the table: another test may have opened the real one.
				_, err = open(c.kind)
			} else {
				_, err = Open(c.kind)
			}
			if err == nil || errors.Is(err, ErrMissing) != c.missing {
				t.Fatalf("error %v, want ErrMissing=%v", err, c.missing)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestPluginThatIsNoLibraryIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpu.so")
	if err := os.WriteFile(path, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DESCANT_XLA_PLUGIN", path)
	_, err := open(XLA)
	if err == nil || errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name the broken plugin", err)
	}
}

func TestXLAFlagsThatWouldEndTheProcess(t *testing.T) {
	if err := checkXLAFlags("--xla_cpu_enable_fast_math=false"); err != nil {
		t.Error(err)
	}
	if err := checkXLAFlags("fast please"); err == nil {
		t.Error("no error for words that are no flags")
	}
}

func TestCUDAPluginIsFoundInAPythonEnvironment(t *testing.T) {
	root := t.TempDir()
	for _, version := range []string{"12", "13"} {
		dir := filepath.Join(root, "lib/python3.12/site-packages/jax_plugins/xla_cuda"+version)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "xla_cuda_plugin.so"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range cudaPatterns("", []string{root}) {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			if !strings.Contains(found[0], "xla_cuda13") {
				t.Errorf("found %s before CUDA 13", found[0])
			}
			return
		}
	}
	t.Error("no pattern finds the plugin")
}

func TestMemoryAndCPUFacts(t *testing.T) {
	m := MemoryFacts()
	if m.Total <= 0 || m.Available <= 0 || m.RSS <= 0 || m.PeakRSS < m.RSS/2 || m.Available > m.Total {
		t.Errorf("memory facts %+v", m)
	}
	if peak, err := PeakRSSOf(os.Getpid()); err != nil || peak < m.PeakRSS/2 {
		t.Errorf("as another process this one has a peak of %d, %v; its own is %d", peak, err, m.PeakRSS)
	}
	if _, err := PeakRSSOf(0); err == nil {
		t.Error("process 0 has a peak")
	}
	if c := CPUFacts(); c.Cores < 1 {
		t.Errorf("CPU facts %+v", c)
	}
}
