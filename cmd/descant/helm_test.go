package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"descant/pkg/lifecycle"
)

// manifest is what is looked at of an object of Kubernetes.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Type     string
		Selector map[string]any
		Template struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     podSpec
		}
	}
}

type podSpec struct {
	Containers []container
	Volumes    []struct {
		Name   string
		Secret struct {
			SecretName string `yaml:"secretName"`
			Items      []struct{ Key, Path string }
		}
	}
}

type container struct {
	Name, Image  string
	Args         []string
	Env          []struct{ Name, Value string }
	StartupProbe struct{ Exec struct{ Command []string } } `yaml:"startupProbe"`
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

const helmSecrets = `{natsPassword: nats-secret, s3SecretKey: s3-secret-key, apiKeys: "key-of-sixteen-letters\nkey-for-answers-only infer"}`

// TestHelm renders the chart and starts every container of it as far as its configuration goes: what the chart says is
// what the binary reads.
func TestHelm(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		values string
		want   []string // kinds and names
		check  func(t *testing.T, role string, cfg Config)
	}{
		"all of it": {
			values: "secrets: " + helmSecrets,
			want: []string{"ConfigMap d-nats", "Deployment d-gateway", "Deployment d-inference", "Deployment d-tokenizer", "Deployment d-trainer",
				"PodDisruptionBudget d-gateway", "Secret d", "Service d-gateway", "Service d-minio", "Service d-nats", "StatefulSet d-minio", "StatefulSet d-nats"},
			check: func(t *testing.T, role string, cfg Config) {
				if cfg.Bus.URL != "nats://d-nats:4222" || cfg.Bus.Password.Reveal() != "nats-secret" || cfg.Blob.Endpoint != "http://d-minio:9000" || cfg.Blob.SecretKey.Reveal() != "s3-secret-key" {
					t.Errorf("%s: servers %+v, %+v", role, cfg.Bus, cfg.Blob)
				}
				if cfg.HTTP.Addr != "127.0.0.1:8080" || cfg.Inference.APIAddr != "off" {
					t.Errorf("%s: open addresses %s, %s", role, cfg.HTTP.Addr, cfg.Inference.APIAddr)
				}
				if role == kindGateway && (cfg.Gateway.Addr != "0.0.0.0:8000" || !strings.HasPrefix(cfg.Gateway.APIKeys.Reveal(), "key-of-sixteen")) {
					t.Errorf("gateway: %+v", cfg.Gateway)
				}
			},
		},
		"servers elsewhere, metrics, an API of each worker": {
			values: `
secrets: {existing: mine}
nats: {enabled: false, url: "nats://nats.example:4222"}
minio: {enabled: false, endpoint: "https://s3.example", bucket: team, accessKey: me}
metrics: {enabled: true}
env: {DESCANT_BUS_REPLICAS: 3, DESCANT_GRACE: 40s}
gateway: {replicas: 1, port: 9001}
inference: {replicas: 3, env: {DESCANT_INFERENCE_SLOTS: 4, DESCANT_GRACE: 45s}, api: {enabled: true}}`,
			want: []string{"Deployment d-gateway", "Deployment d-inference", "Deployment d-tokenizer", "Deployment d-trainer", "PodDisruptionBudget d-inference", "Service d-gateway"},
			check: func(t *testing.T, role string, cfg Config) {
				if cfg.Bus.URL != "nats://nats.example:4222" || cfg.Bus.Replicas != 3 || cfg.Blob.Bucket != "team" || cfg.HTTP.Addr != "0.0.0.0:8080" {
					t.Errorf("%s: %+v", role, cfg)
				}
				if role == kindInference && (cfg.Inference.APIAddr != "0.0.0.0:8001" || cfg.Inference.Slots != 4 || cfg.Grace.String() != "45s") {
					t.Errorf("inference: %+v", cfg.Inference)
				}
				if role == kindGateway && cfg.Gateway.Addr != "0.0.0.0:9001" {
					t.Errorf("gateway: %s", cfg.Gateway.Addr)
				}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			all, err := renderChart(t, tt.values)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range all {
				got = append(got, m.Kind+" "+m.Metadata.Name)
				if m.Kind == "Deployment" {
					role, cfg := readContainer(t, m.Spec.Template.Spec)
					tt.check(t, role, cfg)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("objects\n%q, want\n%q", got, tt.want)
			}
		})
	}
	t.Run("without passwords", func(t *testing.T) {
		if _, err := renderChart(t, ""); err == nil || !strings.Contains(err.Error(), "secrets.") || !strings.Contains(err.Error(), "or name a Secret") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("one configuration of NATS", func(t *testing.T) {
		chart, err := os.ReadFile(filepath.Join(packageDir, "../../deploy/helm/descant/files/nats-server.conf"))
		if err != nil {
			t.Fatal(err)
		}
		compose, err := os.ReadFile(filepath.Join(packageDir, "../../deploy/nats/nats-server.conf"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(chart, compose) {
			t.Error("the chart's nats-server.conf is not that of docker compose: copy it")
		}
	})
}

// renderChart renders the chart as release d, with Helm's own engine.
func renderChart(t *testing.T, values string) (all []manifest, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", ".", "d", "default", filepath.Join(packageDir, "../../deploy/helm/descant"), file)
	cmd.Dir = filepath.Join(packageDir, "../../scripts/tools/helm")
	var text, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &problems
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, problems.String())
	}
	for _, one := range strings.Split("\n"+text.String(), "\n---\n") {
		var m manifest
		if err := yaml.Unmarshal([]byte(one), &m); err != nil {
			t.Fatalf("%v\n%s", err, one)
		}
		if m.Kind != "" {
			all = append(all, m)
		}
	}
	return all, nil
}

// readContainer reads the configuration of a pod's container as the binary in it does, and returns its role.
func readContainer(t *testing.T, pod podSpec) (string, Config) {
	t.Helper()
	c := pod.Containers[0]
	if len(c.Args) != 1 || !slices.Contains([]string{kindGateway, kindTokenizer, kindTrainer, kindInference}, c.Args[0]) || c.Args[0] != c.Name {
		t.Fatalf("container %s runs descant %q", c.Name, c.Args)
	}
	texts := map[string]string{"nats_password": "nats-secret\n", "s3_secret_key": "s3-secret-key\n", "api_keys": "key-of-sixteen-letters\nkey-for-answers-only infer\n"}
	dir := t.TempDir()
	for _, volume := range pod.Volumes {
		for _, item := range volume.Secret.Items {
			if err := os.WriteFile(filepath.Join(dir, item.Path), []byte(texts[item.Key]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	mounts := map[string]string{}
	for _, mount := range c.VolumeMounts {
		mounts[mount.MountPath] = mount.Name
	}
	var environ []string
	for _, e := range c.Env {
		if at := path.Dir(e.Value); mounts[at] == "secrets" {
			e.Value = filepath.Join(dir, path.Base(e.Value))
		}
		environ = append(environ, e.Name+"="+e.Value)
	}
	cfg := defaults()
	loader, err := lifecycle.NewLoader(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(loader.Load("", environ), cfg.settle(), cfg.Bus.Validate(), cfg.Blob.Validate()); err != nil {
		t.Errorf("container %s: %v", c.Name, err)
	}
	if err := map[string]error{kindGateway: cfg.Gateway.Validate(), kindTokenizer: cfg.Tokenizer.Validate(), kindTrainer: cfg.Trainer.Validate(), kindInference: cfg.Inference.Validate()}[c.Name]; err != nil {
		t.Errorf("container %s: %v", c.Name, err)
	}
	_, port, _ := strings.Cut(cfg.HTTP.Addr, ":")
	if want := []string{"descant", "health", "--http-addr", "127.0.0.1:" + port}; !slices.Equal(c.StartupProbe.Exec.Command, want) {
		t.Errorf("container %s is probed with %q, want %q", c.Name, c.StartupProbe.Exec.Command, want)
	}
	return c.Name, cfg
}
