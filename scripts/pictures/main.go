// Command pictures makes the pictures of the web page that the manual shows: it starts `descant up`, trains on the built-in
// sample, and goes through the page in headless Chromium. A picture is a PNG with few colours, small enough for a repository.
//
//	make pictures
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"descant/scripts/up"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	binary := flag.String("descant", "build/descant", "the descant program")
	out := flag.String("out", "docs/images", "folder for the pictures")
	flag.Parse()
	if err := run(ctx, *binary, *out); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, out string) (err error) {
	if binary, err = filepath.Abs(binary); err != nil {
		return fmt.Errorf("find the descant program: %w", err)
	}
	data, err := os.MkdirTemp("", "descant-pictures-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	system, err := up.Start(ctx, binary, filepath.Join(data, "up"), "--inference-model", "builtin:tiny")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, system.Stop()) }()
	b, err := open(ctx, data, system.API, out)
	if err != nil {
		return err
	}
	defer b.close()
	return tour(&api{ctx: ctx, url: system.API}, b)
}

// api asks the HTTP API of the system.
type api struct {
	ctx context.Context
	url string
}

// post sends a request and returns the id of what it made, if it made something.
func (a *api) post(path string, body any) (id string, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(a.ctx, http.MethodPost, a.url+path, bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("POST %s: %s: %s", path, response.Status, answer)
	}
	var made struct {
		ID string `json:"id"`
	}
	return made.ID, json.Unmarshal(answer, &made)
}
