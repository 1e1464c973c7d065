package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// packageDir is the folder of this package: the embedded object store changes the working folder while tests run.
var packageDir = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()

// cli runs one command line in this process, with an environment of its own.
func cli(t *testing.T, environ []string, args ...string) (code int, out, problems string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(args, streams{in: strings.NewReader(""), out: &stdout, err: &stderr}, environ)
	return code, stdout.String(), stderr.String()
}

// write makes a file in a temporary folder.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigShowsWhereValuesComeFrom(t *testing.T) {
	t.Parallel()
	file := write(t, "descant.yaml", "bus:\n  url: nats://file:4222\n  password: hunter2\ngrace: 10s\n")
	secret := write(t, "key", "s3cr3t\n")
	code, out, problems := cli(t, []string{"DESCANT_GRACE=20s", "DESCANT_BLOB_SECRET_KEY_FILE=" + secret},
		"config", "--config", file, "--trainer_keep_checkpoints", "3")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, problems)
	}
	for _, want := range []string{
		"grace: 20s  # env\n", "  url: nats://file:4222  # file\n", "  password: (hidden)  # file\n",
		"  secret_key: (hidden)  # env\n", "  keep_checkpoints: 3  # flag\n", "  addr: 127.0.0.1:0  # default\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	for _, text := range []string{"hunter2", "s3cr3t"} {
		if strings.Contains(out, text) {
			t.Errorf("the secret %q is shown", text)
		}
	}
}

func TestConfigReadsWhatItPrints(t *testing.T) {
	t.Parallel()
	_, first, _ := cli(t, nil, "config", "--inference-slots", "5")
	code, again, problems := cli(t, nil, "config", "--config", write(t, "descant.yaml", first))
	if code != exitOK || !strings.Contains(again, "  slots: 5  # file\n") {
		t.Errorf("exit code %d: %s%s", code, problems, again)
	}
}

func TestMistakesOfTheCommandLine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ []string
		args    []string
		want    []string
	}{
		"unknown flag":      {args: []string{"config", "--grase", "1s"}, want: []string{"--grase", "descant config --help"}},
		"unknown command":   {args: []string{"trian"}, want: []string{`"trian"`, "train"}},
		"argument too many": {args: []string{"version", "x"}, want: []string{"takes no argument"}},
		"unknown variable":  {environ: []string{"DESCANT_BUS_URLL=x"}, args: []string{"config"}, want: []string{"DESCANT_BUS_URLL", "did you mean DESCANT_BUS_URL?"}},
		"unknown keys, all at once": {args: []string{"config", "--config", write(t, "bad.yaml", "bus:\n  ulr: x\nblob:\n  bukket: y\n")},
			want: []string{"bad.yaml:2", "did you mean bus.url?", "bad.yaml:4", "did you mean blob.bucket?"}},
		"a hidden secret read back": {args: []string{"config", "--config", write(t, "printed.yaml", "bus:\n  password: (hidden)\n")},
			want: []string{"printed.yaml:2", "not shown"}},
		"health of no port": {args: []string{"health"}, want: []string{"--http-addr"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, problems := cli(t, test.environ, test.args...)
			if code != exitUsage {
				t.Errorf("exit code %d", code)
			}
			for _, want := range test.want {
				if !strings.Contains(problems, want) {
					t.Errorf("%q is not in: %s", want, problems)
				}
			}
		})
	}
}

func TestEveryCommandHasExamples(t *testing.T) {
	t.Parallel()
	a := &app{streams: streams{in: strings.NewReader(""), out: new(bytes.Buffer), err: new(bytes.Buffer)}}
	root, err := a.rootCommand()
	if err != nil {
		t.Fatal(err)
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%q lacks a short text or examples", c.CommandPath())
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(root)
	for _, args := range [][]string{{"--help"}, {"up", "--help"}, {"train", "--help"}} {
		if code, out, problems := cli(t, nil, args...); code != exitOK || !strings.Contains(out, "Examples:") {
			t.Errorf("%v: exit code %d, %s%s", args, code, out, problems)
		}
	}
}

// closed is an address that refuses connections.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// diagnosis is the doctor's answer in JSON.
type diagnosis struct {
	OK       bool      `json:"ok"`
	Findings []finding `json:"findings"`
}

func (d diagnosis) of(name string) finding {
	for _, f := range d.Findings {
		if f.Name == name {
			return f
		}
	}
	return finding{}
}

func examineJSON(t *testing.T, environ []string, args ...string) (int, diagnosis) {
	t.Helper()
	code, out, problems := cli(t, environ, append([]string{"doctor", "--json"}, args...)...)
	var d diagnosis
	decoder := json.NewDecoder(strings.NewReader(out))
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%v: %s%s", err, out, problems)
	}
	if decoder.More() {
		t.Errorf("stdout holds more than one JSON value: %s", out)
	}
	return code, d
}

func TestDoctorComputes(t *testing.T) {
	code, d := examineJSON(t, []string{"DESCANT_BUS_TIMEOUT=1s"})
	for _, name := range []string{"device xla", "device go"} {
		if f := d.of(name); f.State != stateOK || f.GFLOPS <= 0 {
			t.Errorf("%s = %+v", name, f)
		}
	}
	for _, name := range []string{"machine", "cache", "tokenizers", "device cuda", "nats", "object store", "models"} {
		if f := d.of(name); f.State == "" || f.Detail == "" || f.State != stateOK && f.Mend == "" {
			t.Errorf("%s = %+v", name, f)
		}
	}
	if code != exitOK || !d.OK {
		t.Errorf("servers that nobody named made the exit code %d", code)
	}
}

func TestDoctorNamesWhatIsBroken(t *testing.T) {
	code, d := examineJSON(t, nil, "--bus-url", "nats://"+closed(t), "--blob-endpoint", "http://"+closed(t))
	for _, name := range []string{"nats", "object store"} {
		if f := d.of(name); f.State != stateBroken || f.Mend == "" {
			t.Errorf("%s = %+v", name, f)
		}
	}
	if code != exitFailed || d.OK {
		t.Errorf("exit code %d, ok %v", code, d.OK)
	}
}

func TestChatRefusesASchemaBeforeItStarts(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		`{"type":"object","patternProperties":{}}`: "patternProperties", `{"type":`: "JSON", "nowhere.json": "nowhere.json",
		write(t, "schema.json", `{"oneOf":[]}`): "oneOf",
	} {
		code, _, problems := cli(t, nil, "chat", "--model", "builtin:tiny", "--prompt", "hi", "--json-schema", given)
		if code == exitOK || !strings.Contains(problems, want) || !strings.Contains(problems, "--json-schema") {
			t.Errorf("%s: code %d, %s", given, code, problems)
		}
	}
}
