// Package once keeps the programs of scripts/ from installing again what is there.
package once

import "os"

// Do runs install unless the file stamp holds this version, which it writes when install is done. What an install that was
// broken off has left is install's to clear away.
func Do(stamp, version string, install func() error) error {
	if have, err := os.ReadFile(stamp); err == nil && string(have) == version {
		return nil
	}
	if err := install(); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(version), 0o644)
}
