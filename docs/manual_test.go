package docs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"descant/cmd/descant/systemtest"
	"descant/pkg/embedded/servertest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	systemtest.Remove()
	os.Exit(code)
}

// manual is a running system, and what the commands of the manual find in their folder.
type manual struct {
	root     string // of the repository
	makefile string
	env      []string
	api      string          // address of the HTTP API
	health   string          // address of health and metrics
	made     string          // folder with the files that every page finds
	commands map[string]bool // groups (true) and other commands of the program by their path
	replace  []replacement   // placeholders
	done     map[string]bool // commands that were run: those of a page's Chinese twin are not run again
	met      map[string]bool // lines of the table elsewhere that have a command, by their reason
}

// replacement puts something that exists, or something smaller, in the place of what a page says.
type replacement struct {
	from *regexp.Regexp
	to   string
}

// newManual starts the system and makes what pages take for granted.
func newManual(t *testing.T) *manual {
	t.Helper()
	cache := systemtest.SDKs(t)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	nats, s3, api, health := servertest.FreeAddress(t), servertest.FreeAddress(t), servertest.FreeAddress(t), servertest.FreeAddress(t)
	data, bin, home := t.TempDir(), t.TempDir(), t.TempDir()
	m := &manual{root: root, makefile: read(t, "Makefile"), api: "http://" + api, health: health, made: t.TempDir(), done: map[string]bool{}, met: map[string]bool{}}
	m.env = []string{"DESCANT_DEVICE=go", "DESCANT_HUB_OFFLINE=true", "DESCANT_CACHE=" + cache, "HOME=" + home, "HF_HOME=" + filepath.Join(home, "hf")}
	downloaded(t, filepath.Join(home, "hf", "hub"))
	systemtest.Start(t, systemtest.Command{Name: "descant up", Args: []string{"up", "--dir", data, "--nats-addr", nats, "--s3-addr", s3, "--gateway-addr", api, "--http-addr", health},
		Env:   append(m.env, "DESCANT_GATEWAY_WORK_DIR="+t.TempDir(), "DESCANT_TOKENIZER_WORK_DIR="+t.TempDir(), "DESCANT_TRAINER_WORK_DIR="+t.TempDir(), "DESCANT_INFERENCE_WORK_DIR="+t.TempDir()),
		Ready: "http://" + health + "/readyz"})
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatalf("the manual's examples of the HTTP API use curl: %v; install it", err)
	}
	for name, command := range map[string]string{
		"descant": systemtest.Binary(t), "nats": servertest.Binary(t, "nats"), "python": filepath.Join(cache, "sdk", "python", "venv", "bin", "python"),
		"curl": curl + " -sS --fail-with-body --noproxy '*'", // an error over HTTP has to fail the command
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nexec "+command+" \"$@\"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var keys struct {
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
	}
	if text, err := os.ReadFile(filepath.Join(data, "s3-credentials.json")); err != nil || json.Unmarshal(text, &keys) != nil {
		t.Fatalf("the keys of the object store: %v", err)
	}
	m.env = append(m.env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1",
		"NATS_URL=nats://"+nats, "DESCANT_BUS_URL=nats://"+nats, "DESCANT_BLOB_ENDPOINT=http://"+s3, "DESCANT_EMBEDDED_DIR="+data,
		"DESCANT_BLOB_ACCESS_KEY="+keys.AccessKey, "DESCANT_BLOB_SECRET_KEY="+keys.SecretKey)
	m.commands = m.tree(t)
	m.replace = append([]replacement{{regexp.MustCompile(`http://127\.0\.0\.1:8000`), m.api}, {regexp.MustCompile(`127\.0\.0\.1:8080`), m.health}}, smaller...)
	m.fill(t, bin, cache)
	return m
}

// downloaded puts the tiny base where a download of the tutorial's base would lie.
func downloaded(t *testing.T, hub string) {
	t.Helper()
	repository := filepath.Join(hub, "models--Qwen--Qwen2.5-0.5B-Instruct")
	commit := strings.Repeat("1", 40)
	for _, dir := range []string{"refs", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(repository, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(repository, "refs", "main"), []byte(commit), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(repository, "snapshots", commit), os.DirFS(filepath.Join("..", "models", "tiny"))); err != nil {
		t.Fatal(err)
	}
}

// fill makes the folder that every page begins with, and publishes what pages ask for.
func (m *manual) fill(t *testing.T, bin, cache string) {
	t.Helper()
	for _, dir := range []string{"build", "deploy/secrets"} {
		if err := os.MkdirAll(filepath.Join(m.made, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"my.jsonl", "rows.jsonl", "heldout.jsonl", "support.jsonl", "chat.jsonl", "more.jsonl", "train.jsonl", "eval.jsonl"} {
		var text strings.Builder
		for i := range 12 {
			fmt.Fprintf(&text, `{"instruction": "Say %d", "input": "", "output": "By %s it is %d."}`+"\n", i, name, i*i)
		}
		m.write(t, name, text.String())
	}
	m.write(t, "book.txt", strings.Repeat("Once upon a time there was a small model.\n\n", 6))
	m.write(t, "keys", "a-key-that-is-long-enough infer train admin\n")
	m.write(t, "keys.txt", "a-key-that-is-long-enough infer\n")
	m.write(t, "deploy/secrets/api_keys", "a-key-that-is-long-enough\n")
	for from, to := range map[string]string{filepath.Join(bin, "descant"): "build/descant", filepath.Join(cache, "sdk", "node", "node_modules"): "node_modules"} {
		if err := os.Symlink(from, filepath.Join(m.made, to)); err != nil {
			t.Fatal(err)
		}
	}
	m.must(t, `for i in 1 2 3 4 5; do
		descant train --model builtin:tiny --dataset my.jsonl --max-steps 2 --seed $i --output-dir v$i
		descant adapters push v$i --name my-adapter
		descant adapters push v$i --name support
	done
	mv v1 out; cp -r out peft-adapter; rm -r v?`)
	m.must(t, "descant datasets push support.jsonl && descant datasets push chat.jsonl && descant datasets push my.jsonl && descant adapters promote support@1")
	file := m.id(t, `curl `+m.api+`/v1/files -F purpose=fine-tune -F file=@rows.jsonl`)
	job := m.id(t, `descant finetune --model builtin:tiny --dataset my --name my-adapter --max-steps 2 --detach --json`)
	m.must(t, "descant jobs watch "+job)
	m.replace = append(m.replace, replacement{regexp.MustCompile(`file-…`), file}, replacement{regexp.MustCompile(`ft-(…|1a2b3c)`), job})
}

func (m *manual) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.made, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// must runs a command in the folder that every page begins with.
func (m *manual) must(t *testing.T, command string) string {
	t.Helper()
	out, err := m.shell(t, m.made, command, nil)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

// id is that of the object which a command prints.
func (m *manual) id(t *testing.T, command string) string {
	t.Helper()
	var object struct {
		ID string `json:"id"`
	}
	out := m.must(t, command+" 2>/dev/null")
	if err := json.Unmarshal([]byte(out), &object); err != nil || object.ID == "" {
		t.Fatalf("%s: no id in %s: %v", command, out, err)
	}
	return object.ID
}

// dir is a folder as a page finds it.
func (m *manual) dir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "page")
	if out, err := exec.CommandContext(t.Context(), "cp", "-r", m.made, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the files: %v\n%s", err, out)
	}
	return dir
}

// shell runs a command. With said it waits for that output, and then asks the command to end.
func (m *manual) shell(t *testing.T, dir, command string, said *regexp.Regexp, env ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), systemtest.Patience) // also what cleans up
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", command)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(append(systemtest.Environment(), m.env...), env...), time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out := &watched{said: said, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil && said != nil {
			err = fmt.Errorf("it ended before it said %s", said)
		}
		return out.String(), err
	case <-out.seen:
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // it may be ending already
	err := <-ended
	if signalled(err) {
		err = nil
	}
	return out.String(), err
}

// signalled tells whether a process ended by our signal, as nats does, or says that it was interrupted.
func signalled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() && status.Signal() == syscall.SIGTERM || status.ExitStatus() == 130 || status.ExitStatus() == 143)
}

// watched keeps output and tells when it holds what is waited for.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	said *regexp.Regexp
	once sync.Once
	seen chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.text.Write(p)
	if w.said != nil && w.said.Match(w.text.Bytes()) {
		w.once.Do(func() { close(w.seen) })
	}
	return n, err
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
