//go:build !linux

package device

// GiveBackFreed does nothing here: malloc gives back what is freed as it sees fit.
func GiveBackFreed() {}
