package once

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestDo(t *testing.T) {
	t.Parallel()
	stamp := filepath.Join(t.TempDir(), "stamp")
	broken := errors.New("no network")
	for i, c := range []struct {
		version string
		fails   error
		runs    bool
	}{{"1", broken, true}, {"1", nil, true}, {"1", broken, false}, {"2", nil, true}, {"1", nil, true}} {
		ran := false
		err := Do(stamp, c.version, func() error { ran = true; return c.fails })
		if ran != c.runs || c.runs && !errors.Is(err, c.fails) || !c.runs && err != nil {
			t.Errorf("call %d ran install %v with %v, expected %v", i, ran, err, c.runs)
		}
	}
}
