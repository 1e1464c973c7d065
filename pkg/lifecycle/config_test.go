package lifecycle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"

	"descant/pkg/lifecycle"
)

type busConfig struct {
	URL      string           `yaml:"url" help:"where"`
	AckWait  time.Duration    `yaml:"ack_wait" help:"how long"`
	Password lifecycle.Secret `yaml:"password" help:"the password"`
}

type config struct {
	Bus     busConfig       `yaml:"bus"`
	Names   []string        `yaml:"names" help:"some names"`
	Limit   lifecycle.Bytes `yaml:"limit" help:"a size"`
	Verbose bool            `yaml:"verbose" help:"say more"`
	Rate    float64         `yaml:"rate" help:"a rate"`
	Steps   int             `yaml:"max_steps" flag:"max-steps" help:"steps"`
	Hidden  uint16          `yaml:"hidden" flag:"-" help:"no flag"`
}

func defaults() config {
	return config{Bus: busConfig{URL: "nats://localhost", AckWait: time.Minute}, Limit: 64 << 20, Rate: 0.5, Steps: 50}
}

// load runs the four layers over the defaults.
func load(t *testing.T, file string, env, args []string) (config, *lifecycle.Loader, error) {
	t.Helper()
	cfg := defaults()
	l, err := lifecycle.NewLoader(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	l.BindFlags(set)
	if err := set.Parse(args); err != nil {
		return cfg, l, err
	}
	path := ""
	if file != "" {
		path = write(t, "descant.yaml", file)
	}
	err = l.Load(path, env)
	return cfg, l, err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLayers(t *testing.T) {
	t.Parallel()
	file := `
bus:
  url: nats://file   # a comment
  ack_wait: 10s
  password: from-file
names: [a, b]
limit: 2GiB
verbose: true
rate: 1e-4
hidden: 7
`
	cfg, l, err := load(t, file,
		[]string{"DESCANT_BUS_ACK_WAIT=20s", "DESCANT_RATE=2", "DESCANT_CACHE=/somewhere", "OTHER=1"},
		[]string{"--rate", "3", "--names=c, d", "--verbose=false"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Bus.URL != "nats://file" || cfg.Bus.AckWait != 20*time.Second || cfg.Rate != 3 || cfg.Bus.Password.Reveal() != "from-file" ||
		!slices.Equal(cfg.Names, []string{"c", "d"}) || cfg.Limit != 2<<30 || cfg.Verbose || cfg.Steps != 50 || cfg.Hidden != 7 {
		t.Errorf("%+v", cfg)
	}
	var sources []string
	for _, f := range l.Fields() {
		sources = append(sources, f.Key()+"="+f.Source)
	}
	want := "bus.url=file bus.ack_wait=env bus.password=file names=flag limit=file verbose=flag rate=flag max_steps=default hidden=file"
	if got := strings.Join(sources, " "); got != want {
		t.Errorf("sources %s\nwant    %s", got, want)
	}
}

func TestPrintIsReadBack(t *testing.T) {
	t.Parallel()
	cfg, l, err := load(t, "bus: {password: hunter2}\nnames:\n  - x y\n  - 'true'\n", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.Print(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "(hidden)") {
		t.Errorf("secret in\n%s", &out)
	}
	// A file made of what was printed must not log in with the sign for a secret.
	if _, _, err := load(t, out.String(), nil, nil); err == nil || !strings.Contains(err.Error(), "_file") {
		t.Errorf("the sign for a secret was taken as one: %v", err)
	}
	secret := write(t, "secret", "hunter2")
	again, _, err := load(t, strings.Replace(out.String(), "password: (hidden)", "password_file: "+secret, 1), nil, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, &out)
	}
	if fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", cfg) {
		t.Errorf("read back %+v, want %+v from\n%s", again, cfg, &out)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		file string
		env  []string
		args []string
		want []string
	}{
		"unknown keys, all of them": {
			file: "bus:\n  url: x\n  ackwait: 3s\nzzzzzzzz: 1\n",
			want: []string{"descant.yaml:3: unknown key bus.ackwait; did you mean bus.ack_wait?", "descant.yaml:4: unknown key zzzzzzzz"},
		},
		"values": {
			file: "bus:\n  ack_wait: soon\nlimit: 3 apples\nverbose: perhaps\nhidden: -1\n",
			env:  []string{"DESCANT_MAX_STEPS=many"},
			want: []string{"descant.yaml:2: bus.ack_wait: \"soon\" is not a duration", "limit: \"3 apples\" is not a size", "verbose", "hidden", "DESCANT_MAX_STEPS: \"many\""},
		},
		"twice":            {file: "rate: 1\nrate: 2\n", want: []string{"rate"}},
		"unknown variable": {env: []string{"DESCANT_BUS_URRL=x"}, want: []string{"unknown environment variable DESCANT_BUS_URRL; did you mean DESCANT_BUS_URL?"}},
		"flag value":       {args: []string{"--bus-ack-wait=soon"}, want: []string{"bus-ack-wait", "not a duration"}},
		"unknown flag":     {args: []string{"--bus-password=x"}, want: []string{"unknown flag"}},
		"secret file":      {env: []string{"DESCANT_BUS_PASSWORD_FILE=/no/such/file"}, want: []string{"DESCANT_BUS_PASSWORD_FILE", "/no/such/file"}},
		"not YAML":         {file: "bus: [", want: []string{"descant.yaml"}},
		"not a mapping":    {file: "- a\n- b: c\n", want: []string{"descant.yaml"}},
		"section as value": {file: "bus: fast\n", want: []string{"descant.yaml:1: unknown key bus"}},
		"file as list":     {file: "just text\n", want: []string{"descant.yaml:1"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, c.file, c.env, c.args)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error\n%v\ndoes not say %s", err, want)
				}
			}
		})
	}
	if _, _, err := load(t, "", nil, nil); err != nil {
		t.Error(err)
	}
	cfg := defaults()
	l, err := lifecycle.NewLoader(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Load("/no/such.yaml", nil); err == nil || !strings.Contains(err.Error(), "/no/such.yaml") {
		t.Error(err)
	}
}

func TestSecretByFile(t *testing.T) {
	t.Parallel()
	path := write(t, "secret", "s3cret\n")
	for name, c := range map[string]struct {
		file      string
		env, args []string
	}{
		"yaml": {file: "bus:\n  password_file: " + path + "\n"},
		"env":  {env: []string{"DESCANT_BUS_PASSWORD_FILE=" + path}},
		"flag": {args: []string{"--bus-password-file", path}},
	} {
		cfg, _, err := load(t, c.file, c.env, c.args)
		if err != nil || cfg.Bus.Password.Reveal() != "s3cret" {
			t.Errorf("%s: %q, %v", name, cfg.Bus.Password.Reveal(), err)
		}
	}
}

func TestBadStructs(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]any{
		"no pointer": config{},
		"no tag":     &struct{ A string }{},
		"channel": &struct {
			A chan int `yaml:"a"`
		}{},
		"twice": &struct {
			A string `yaml:"a"`
			B string `yaml:"a"`
		}{},
	} {
		if _, err := lifecycle.NewLoader(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSecretHides(t *testing.T) {
	t.Parallel()
	holder := struct{ S lifecycle.Secret }{lifecycle.NewSecret("hunter2")}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", holder.S, "holder", holder)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", holder.S, "holder", &holder)
	asJSON, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d", holder, holder, holder, holder.S, holder.S, holder.S, holder.S) + string(asJSON) + string(asYAML) + log.String()
	if strings.Contains(all, "hunter2") || strings.Contains(all, "68756e74657232") || !strings.Contains(all, "(hidden)") {
		t.Errorf("shown in %s", all)
	}
	if empty := (lifecycle.Secret{}); empty.String() != "" || !empty.Empty() || holder.S.Empty() {
		t.Error("an empty secret must look empty")
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]lifecycle.Bytes{
		"0": 0, "4096": 4096, "64MiB": 64 << 20, "1.5 GiB": 3 << 29, "2GB": 2e9, "10B": 10, "3KB": 3000,
	} {
		var b lifecycle.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s: %d, %v; want %d", text, b, err, want)
		}
		var back lifecycle.Bytes
		if err := back.UnmarshalText([]byte(b.String())); err != nil || back != b {
			t.Errorf("%s prints as %s", text, b)
		}
	}
	for _, text := range []string{"", "-1", "MiB", "x", "9e30"} {
		var b lifecycle.Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken as %d", text, b)
		}
	}
}
