package main

import (
	"bytes"
	"strings"
	"time"
)

// tailWriter keeps the end of what is written, for an error message.
type tailWriter struct{ kept []byte }

const tailBytes = 3000

func (w *tailWriter) Write(data []byte) (int, error) {
	w.kept = append(w.kept, data...)
	if extra := len(w.kept) - tailBytes; extra > 0 {
		w.kept = w.kept[extra:]
	}
	return len(data), nil
}

func (w *tailWriter) String() string { return strings.TrimSpace(string(w.kept)) }

// progressWriter passes on the newest line of a chatty build every few seconds.
type progressWriter struct {
	say  func(string)
	last time.Time
}

const progressEvery = 5 * time.Second

func (w *progressWriter) Write(data []byte) (int, error) {
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if line := strings.TrimSpace(string(lines[len(lines)-1])); line != "" && time.Since(w.last) > progressEvery {
		w.last = time.Now()
		w.say(line)
	}
	return len(data), nil
}
