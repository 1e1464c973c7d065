package lifecycle

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a size in bytes, written with a unit: 64MiB, 2GiB, 500MB or 4096.
type Bytes int64

var units = []struct {
	name string
	size int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, scale := strings.TrimSpace(string(text)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, scale = strings.TrimSpace(rest), u.size
			break
		}
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || x < 0 || x*float64(scale) >= 1<<63 {
		return fmt.Errorf("%q is not a size such as 64MiB or 2GB", text)
	}
	*b = Bytes(x * float64(scale))
	return nil
}

// String writes the size with the largest unit that fits without a rest.
func (b Bytes) String() string {
	for _, u := range units[:4] {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText writes the size as String does.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
