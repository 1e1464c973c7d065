package device

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// CacheDir is the per-user folder of the native parts: $DESCANT_CACHE, else $XDG_CACHE_HOME/descant, else
// ~/.cache/descant. It is empty if the user has no home folder and neither variable is set.
func CacheDir() string {
	if dir := os.Getenv("DESCANT_CACHE"); dir != "" {
		return absolute(dir)
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return absolute(filepath.Join(dir, "descant"))
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".cache", "descant")
}

func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// XLACPUPlugin is where the XLA CPU plugin belongs under a cache folder.
func XLACPUPlugin(cacheDir string) string {
	return filepath.Join(cacheDir, "native", "xla-cpu-"+xlaCPUVersion, xlaCPULibrary)
}

// findPlugin gives the absolute path of the plugin of kind ([XLA] or [CUDA]).
func findPlugin(kind string) (string, error) {
	if kind == CUDA {
		return findCUDAPlugin()
	}
	if path := os.Getenv("DESCANT_XLA_PLUGIN"); path != "" {
		return namedPlugin("DESCANT_XLA_PLUGIN", path)
	}
	cache := CacheDir()
	if cache == "" {
		return "", fmt.Errorf("device xla: %w: there is no home folder to look for the XLA CPU plugin in: set "+
			"DESCANT_CACHE to a folder and run `make setup`", ErrMissing)
	}
	path := XLACPUPlugin(cache)
	if !isFile(path) {
		return "", fmt.Errorf("device xla: %w: the XLA CPU plugin is not at %s: run `make setup` (`descant doctor` says "+
			"what else is missing), or use the pure-Go device with `--device go`", ErrMissing, path)
	}
	return path, nil
}

// findCUDAPlugin looks for the plugin of a GPU: the file that DESCANT_CUDA_PLUGIN names, the cache, and the folders
// of Python environments with jax_cuda13_plugin or jax_cuda12_plugin; the newest CUDA wins.
func findCUDAPlugin() (string, error) {
	if path := os.Getenv("DESCANT_CUDA_PLUGIN"); path != "" {
		return namedPlugin("DESCANT_CUDA_PLUGIN", path)
	}
	if !isFile("/dev/nvidiactl") {
		return "", fmt.Errorf("device cuda: %w: no NVIDIA GPU on this machine (/dev/nvidiactl is absent): install its "+
			"driver, or use `--device xla`", ErrMissing)
	}
	for _, pattern := range cudaPatterns(CacheDir(), pythonRoots()) {
		// Glob sorts its result: the last is the highest version of Python.
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("device cuda: %w: a GPU is there but no CUDA plugin: `pip install jax-cuda13-plugin[with-cuda]` "+
		"in the active Python environment, or set DESCANT_CUDA_PLUGIN to the absolute path of xla_cuda_plugin.so; "+
		"`descant doctor` shows the result", ErrMissing)
}

func cudaPatterns(cache string, roots []string) []string {
	var patterns []string
	if cache != "" {
		patterns = append(patterns, filepath.Join(cache, "native", "xla-cuda-*", "xla_cuda_plugin.so"),
			filepath.Join(cache, "native", "xla-cuda-*", "pjrt_c_api_cuda_plugin.so"))
	}
	for _, version := range []string{"13", "12"} {
		for _, root := range roots {
			for _, python := range []string{"lib/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages"} {
				patterns = append(patterns, filepath.Join(root, python, "jax_plugins", "xla_cuda"+version, "xla_cuda_plugin.so"))
			}
		}
	}
	return patterns
}

// pythonRoots lists the prefixes that may hold a Python environment, the active one first.
func pythonRoots() []string {
	var roots []string
	for _, env := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if dir := os.Getenv(env); dir != "" {
			roots = append(roots, dir)
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		roots = append(roots, filepath.Join(home, ".local"))
	}
	return append(roots, "/usr/local", "/usr", "/opt/venv", "/opt/conda")
}

func namedPlugin(env, path string) (string, error) {
	path = absolute(strings.TrimSpace(path))
	if !isFile(path) {
		return "", fmt.Errorf("%w: %s names %s, which is not a file: mend or unset it", ErrMissing, env, path)
	}
	return path, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
