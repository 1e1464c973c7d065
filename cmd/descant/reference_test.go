package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"descant/pkg/job"
	"descant/pkg/lifecycle"
)

// update writes the pages that are made of structs anew, in place of comparing them: `make docs`.
var update = flag.Bool("update", false, "write docs/options.md and docs/configuration.md anew")

// generated is the first line of such a page.
const generated = "<!-- Made by `make docs` from the structs of the program. Change the help there, not this page. -->\n\n"

// TestReference is not parallel: the defaults follow the environment.
func TestReference(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{"XDG_CACHE_HOME", "XDG_DATA_HOME", "DESCANT_CACHE", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE",
		"USE_MODELSCOPE_HUB", "MODELSCOPE_DOMAIN", "MODELSCOPE_API_TOKEN"} {
		t.Setenv(name, "")
	}
	for name, text := range map[string]string{"options.md": optionsPage(t), "configuration.md": configurationPage(t)} {
		text = strings.ReplaceAll(text, home, "~")
		path := filepath.Join(packageDir, "..", "..", "docs", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(page) != text {
			t.Errorf("docs/%s does not say what the structs say: run `make docs`", name)
		}
	}
}

// code writes a value into a cell of a table.
func code(text string) string {
	if text == "" {
		return "–"
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

// cell keeps a text from ending its cell.
func cell(text string) string { return strings.NewReplacer("|", `\|`, "<", `\<`).Replace(text) }

// optionsPage lists the fields of a request, those of the training in the order of the alphabet.
func optionsPage(t *testing.T) string {
	t.Helper()
	request := job.NewRequest()
	loader, err := lifecycle.NewLoader(&request)
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]*lifecycle.Field{}
	for _, f := range loader.Fields() {
		flags[f.Key()] = f
	}
	row := func(field reflect.StructField, value reflect.Value) string {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		flagName, standard := "–", "–"
		if f := flags[name]; f != nil {
			flagName, standard = "`--"+f.Flag()+"`", code(f.Text())
		}
		if field.Tag.Get("help") == "" {
			t.Errorf("job.Request: %s has no help", name)
		}
		return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", name, flagName, jsonKind(t, value), standard, cell(field.Tag.Get("help")))
	}
	var head string
	training := map[string]string{}
	v := reflect.ValueOf(request)
	for i := range v.NumField() {
		if field := v.Type().Field(i); !field.Anonymous {
			head += row(field, v.Field(i))
		}
	}
	var visit func(v reflect.Value)
	visit = func(v reflect.Value) {
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if field.Anonymous {
				visit(v.Field(i))
				continue
			}
			training[field.Name] = row(field, v.Field(i))
		}
	}
	visit(reflect.ValueOf(request.Training))
	rows := make([]string, 0, len(training))
	for _, text := range training {
		rows = append(rows, text)
	}
	slices.Sort(rows)
	const table = "| option | flag | JSON | default | meaning |\n|---|---|---|---|---|\n"
	return generated + `# Every option of a training

An option has the name that it has in PEFT, TRL or transformers, and is the same wherever it is written: a flag of ` + "`descant train`, `estimate`" + `
and ` + "`finetune`" + `, a field of the JSON on ` + "`finetune.request`" + `, a field of ` + "`POST /v1/fine_tuning/jobs`" + ` beside OpenAI's own. What is left out has
the default. An unknown name, a value out of range and a setting that would have no effect are refused, all at once.

[LoRA options](lora.md), [training options](training.md), [data](data.md) and [long runs](long-runs.md) explain them in their context, with
what they are called elsewhere; [the HTTP API](api.md) says which of them OpenAI's hyper-parameters are.

## What is trained on what

` + table + head + `
` + "`descant train`" + ` and ` + "`finetune`" + ` use the base ` + code(defaultModel) + ` and the dataset ` + "`builtin:sample`" + ` where none is named.

## How

` + table + strings.Join(rows, "")
}

// jsonKind says what a value is in JSON.
func jsonKind(t *testing.T, value reflect.Value) string {
	t.Helper()
	switch value.Interface().(type) {
	case int, int64:
		return "whole number"
	case job.TargetModules:
		return "text or list"
	case job.LayerList:
		return "number or list"
	case job.InitWeights:
		return "true or text"
	}
	text, err := json.Marshal(value.Interface())
	if err != nil {
		t.Fatal(err)
	}
	switch text[0] {
	case '"':
		return "text"
	case '{':
		return "object"
	case 't', 'f':
		return "true or false"
	case '[', 'n':
		if value.Kind() == reflect.Map {
			return "object"
		}
		return "list"
	}
	return "number"
}

// configurationPage lists the configuration, a table a section.
func configurationPage(t *testing.T) string {
	t.Helper()
	a := &app{}
	root, err := a.rootCommand()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(generated + `# Every setting

The settings of a process come from four places, each over the one before: the defaults below, a YAML file (` + "`--config FILE` or `DESCANT_CONFIG`" + `),
the environment, flags. The setting ` + "`bus.ack_wait`" + ` is ` + "`ack_wait`" + ` below ` + "`bus`" + ` in the file, ` + "`DESCANT_BUS_ACK_WAIT`" + ` in the environment and
` + "`--bus-ack-wait`" + ` as a flag. An unknown key or variable is an error. ` + "`descant config`" + ` prints what holds, with where each value came from.

A secret (its flag ends with ` + "`-file`" + `) is best given as the name of a file that holds it: ` + "`bus.password_file`, `DESCANT_BUS_PASSWORD_FILE`" + ` or
` + "`--bus-password-file`" + `. It is never shown. Lists are separated by commas.
`)
	users := sectionUsers(root)
	section := "none"
	for _, f := range a.loader.Fields() {
		name := ""
		if len(f.Path) > 1 {
			name = f.Path[0]
		}
		if name != section {
			section = name
			b.WriteString("\n" + sectionHead(t, f.Path, users) + "| setting | flag | default | meaning |\n|---|---|---|---|\n")
		}
		option := f.Flag()
		if root.PersistentFlags().Lookup(option) == nil {
			option += "-file"
		}
		if f.Help == "" || root.PersistentFlags().Lookup(option) == nil {
			t.Errorf("%s has no help or no flag", f.Key())
		}
		fmt.Fprintf(&b, "| `%s` | `--%s` | %s | %s |\n", f.Key(), option, code(f.Text()), cell(f.Help))
	}
	return b.String()
}

// sectionHead is the heading of a section with its help and the commands whose own help lists it.
func sectionHead(t *testing.T, path []string, users map[string][]string) string {
	t.Helper()
	if len(path) == 1 {
		return "## A process\n\nOf every process.\n\n"
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		field := reflect.TypeFor[Config]().Field(i)
		if field.Tag.Get("yaml") != path[0] {
			continue
		}
		if field.Tag.Get("help") == "" {
			t.Errorf("section %s has no help", path[0])
		}
		return fmt.Sprintf("## %s\n\n%s In the help of %s.\n\n", path[0], field.Tag.Get("help"), strings.Join(users[path[0]], ", "))
	}
	t.Errorf("there is no section %s", path[0])
	return ""
}

// sectionUsers lists the commands of each section, those of a group by its name.
func sectionUsers(root *cobra.Command) map[string][]string {
	users := map[string][]string{}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, section := range strings.Fields(c.Annotations["sections"]) {
			name := "`" + strings.Fields(c.CommandPath())[1] + "`"
			if !slices.Contains(users[section], name) {
				users[section] = append(users[section], name)
			}
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(root)
	return users
}
