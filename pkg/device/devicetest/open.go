// Package devicetest opens devices for tests.
package devicetest

import (
	"testing"

	"descant/pkg/device"
)

// Open opens a device of a kind, such as [device.XLA], until the test ends.
func Open(t testing.TB, kind string) *device.Device {
	t.Helper()
	dev, err := device.Open(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}
