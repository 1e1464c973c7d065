package systemtest

import (
	"os/exec"
	"testing"

	"descant/pkg/device"
)

// SDKs brings OpenAI's SDKs for Python and Node into the cache, if they are not there, and returns the cache: the
// interpreter lies in sdk/python/venv/bin, the packages of Node in sdk/node/node_modules.
func SDKs(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "run", "descant/scripts/setup", "--sdks").CombinedOutput()
	if err != nil {
		t.Fatalf("install the SDKs: %v\n%s", err, out)
	}
	return device.CacheDir()
}
