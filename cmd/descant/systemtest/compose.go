package systemtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"descant/pkg/embedded/servertest"
)

// composition runs the services of a compose file as processes of this machine: their commands, environment,
// configuration files and secrets as they are written there, with the paths and addresses of containers replaced by
// those of temporary folders and free ports.
type composition struct {
	project *types.Project
	secrets map[string]string // file of each secret by its name
	hosts   map[string]string // free address of each "service:port"
}

// composedHosts are the addresses on which services listen for others.
var composedHosts = []string{"nats:4222", "minio:9000", "gateway:8000"}

// urlPattern finds the address that a health check asks.
var urlPattern = regexp.MustCompile(`http://[^\s"']+`)

// Composed starts what docker-compose.yml starts: the servers, then each service as a process of its own.
func Composed(t testing.TB, file string) *System {
	t.Helper()
	c := loadComposition(t, file)
	s := &System{Base: filepath.Join(t.TempDir(), "base"), Services: map[string]*Process{}}
	TinyBase(t, s.Base)
	for _, server := range []string{"nats", "minio"} {
		process, check := c.launch(t, server, nil)
		awaitServer(t, process, urlPattern.FindString(check))
	}
	s.NATSURL = "nats://descant:" + c.secret(t, "nats_password") + "@" + c.hosts["nats:4222"]
	s.connect(t, "http://"+c.hosts["minio:9000"], "descant", c.secret(t, "s3_secret_key"))
	s.StartService = func(t testing.TB, role string, env ...string) *Process {
		t.Helper()
		p, check := c.launch(t, role, append(common(s.Base, t.TempDir()), env...))
		awaitCheck(t, p, check)
		s.Services[role] = p
		return p
	}
	for _, role := range Roles {
		s.StartService(t, role)
	}
	s.APIURL, s.APIKey = "http://"+c.hosts["gateway:8000"]+"/v1", c.secret(t, "api_keys")
	return s
}

func loadComposition(t testing.TB, file string) *composition {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithWorkingDirectory(filepath.Dir(file)))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatalf("load %s: %v", file, err)
	}
	c := &composition{project: project, secrets: map[string]string{}, hosts: map[string]string{}}
	for name := range project.Secrets {
		c.secrets[name] = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(c.secrets[name], []byte(randomText(t)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, host := range composedHosts {
		c.hosts[host] = servertest.FreeAddress(t)
	}
	return c
}

// launch starts a service and returns it with its health check, the words of the command joined by new lines.
func (c *composition) launch(t testing.TB, name string, extra []string) (*Process, string) {
	t.Helper()
	service, err := c.project.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	here := c.place(t, service)
	words := append(append([]string{}, service.Entrypoint...), service.Command...)
	command := Command{Name: name, Env: extra}
	for i := range words {
		words[i] = here.Replace(words[i])
	}
	switch {
	case len(service.Entrypoint) > 0:
		command.Path, command.Args = program(t, words[0]), words[1:]
	case name == "minio":
		// The entry point of the image is the server itself.
		command.Path, command.Args = servertest.Binary(t, "minio"), words
	default:
		command.Args = words
	}
	bin := filepath.Dir(servertest.Binary(t, "nats-server"))
	command.Env = append(command.Env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for key, value := range service.Environment {
		if value != nil {
			command.Env = append(command.Env, key+"="+here.Replace(*value))
		}
	}
	if service.HealthCheck == nil || len(service.HealthCheck.Test) < 2 {
		t.Fatalf("service %s has no health check", name)
	}
	return Launch(t, command), here.Replace(strings.Join(service.HealthCheck.Test[1:], "\n"))
}

// place maps what a service sees in its container to this machine.
func (c *composition) place(t testing.TB, service types.ServiceConfig) *strings.Replacer {
	t.Helper()
	paths := map[string]string{"127.0.0.1:8080": servertest.FreeAddress(t), "127.0.0.1:8222": servertest.FreeAddress(t)}
	for _, host := range composedHosts {
		paths[host] = c.hosts[host]
		if own, port, _ := strings.Cut(host, ":"); own == service.Name {
			paths["0.0.0.0:"+port], paths["127.0.0.1:"+port] = c.hosts[host], c.hosts[host]
			paths[":"+port] = c.hosts[host]
		}
	}
	for _, secret := range service.Secrets {
		paths["/run/secrets/"+secret.Source] = c.secrets[secret.Source]
	}
	var files []types.ServiceVolumeConfig
	for _, volume := range service.Volumes {
		if volume.Type == types.VolumeTypeBind {
			files = append(files, volume)
			continue
		}
		paths[volume.Target] = t.TempDir()
	}
	for _, file := range files {
		// A configuration file is used as it is, but for the same replacements.
		text, err := os.ReadFile(file.Source)
		if err != nil {
			t.Fatalf("%s of service %s: %v", file.Target, service.Name, err)
		}
		copied := filepath.Join(t.TempDir(), filepath.Base(file.Target))
		if err := os.WriteFile(copied, []byte(replacer(paths).Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
		paths[file.Target] = copied
	}
	return replacer(paths)
}

// replacer replaces longer keys first, so that a folder does not hide the file below it.
func replacer(paths map[string]string) *strings.Replacer {
	keys := make([]string, 0, len(paths))
	for key := range paths {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool {
		if len(keys[i]) != len(keys[j]) {
			return len(keys[i]) > len(keys[j])
		}
		return keys[i] < keys[j]
	})
	var pairs []string
	for _, key := range keys {
		pairs = append(pairs, key, paths[key])
	}
	return strings.NewReplacer(pairs...)
}

func (c *composition) secret(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(c.secrets[name])
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// awaitServer waits for the URL of a server's health check.
func awaitServer(t testing.TB, process *Process, url string) {
	t.Helper()
	if url == "" {
		t.Fatal("the health check of the server asks no URL")
	}
	process.await(t, func() bool {
		response, err := http.Get(url)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// awaitCheck waits until a service's own health check succeeds.
func awaitCheck(t testing.TB, process *Process, check string) {
	t.Helper()
	words := strings.Split(check, "\n")
	if words[0] != "descant" {
		t.Fatalf("the health check runs %q, not descant", words[0])
	}
	process.await(t, func() bool {
		return Launch(t, Command{Name: "health", Args: words[1:]}).Wait(t) == nil
	})
}

// await asks until the answer is yes, the process has ended or patience is over.
func (p *Process) await(t testing.TB, ready func() bool) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for !ready() {
		select {
		case <-p.done:
			t.Fatalf("%s has ended before it was ready:\n%s", p.name, p.Output())
		case <-deadline.C:
			t.Fatalf("%s was not ready in %s:\n%s", p.name, Patience, p.Output())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func randomText(t testing.TB) string {
	t.Helper()
	var data [16]byte
	if _, err := rand.Read(data[:]); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(data[:])
}
