package lifecycle

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

// LogConfig says how the process logs.
type LogConfig struct {
	// Format is text, json or auto: text on a terminal, JSON elsewhere.
	// Defaults to auto.
	Format string `yaml:"format" help:"log format: auto (text on a terminal, else JSON), text or json"`
	// Level is the least level that is written: debug, info, warn or error.
	// Defaults to info.
	Level string `yaml:"level" help:"least level that is logged: debug, info, warn or error"`
}

// LogDefaults returns the configuration for people and for machines.
func LogDefaults() LogConfig { return LogConfig{Format: "auto", Level: "info"} }

// NewLogger makes a logger that writes to w.
func NewLogger(w io.Writer, cfg LogConfig) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", cfg.Level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch cfg.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "auto", "":
		if terminal(w) {
			return slog.New(slog.NewTextHandler(w, opts)), nil
		}
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("log format %q: use auto, text or json", cfg.Format)
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
