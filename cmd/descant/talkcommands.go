package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// bareBase is the name of the base without an adapter in a conversation.
const bareBase = "base"

// talkCommand is a line of a conversation that begins with a slash.
type talkCommand struct {
	name     string
	argument string // as the help shows it; "" where there is none
	help     string
	do       func(t *talk, ctx context.Context, rest string) (leave bool, err error)
}

// talkCommands are all commands, in the order of the help.
func talkCommands() []talkCommand {
	goesOn := func(do func(t *talk, ctx context.Context, rest string) error) func(*talk, context.Context, string) (bool, error) {
		return func(t *talk, ctx context.Context, rest string) (bool, error) { return false, do(t, ctx, rest) }
	}
	return []talkCommand{
		{"/adapter", "NAME", "go on with another adapter: a folder, a published adapter, or base for none", goesOn((*talk).change)},
		{"/compare", "NAME...", "answers of several to the last question, side by side; the conversation stays as it is", goesOn((*talk).compare)},
		{"/system", "TEXT", "set the system message and start anew", goesOn(func(t *talk, _ context.Context, rest string) error {
			t.options.system = rest
			t.anew()
			return nil
		})},
		{"/reset", "", "start a new conversation", goesOn(func(t *talk, _ context.Context, _ string) error {
			t.anew()
			return nil
		})},
		{"/save", "FILE", "write the conversation as a row of a dataset (JSON Lines, appended)", goesOn((*talk).save)},
		{"/help", "", "this list", goesOn(func(t *talk, _ context.Context, _ string) error {
			fmt.Fprintln(t.app.err, talkHelp())
			return nil
		})},
		{"/quit", "", "leave (or /exit, Ctrl-D); Ctrl-C stops an answer", func(*talk, context.Context, string) (bool, error) { return true, nil }},
	}
}

// talkAliases are other names of commands.
var talkAliases = map[string]string{"/exit": "/quit", "/?": "/help"}

// talkHelp lists the commands and what else can be typed.
func talkHelp() string {
	var b strings.Builder
	for _, c := range talkCommands() {
		fmt.Fprintf(&b, "%-18s %s\n", strings.TrimSpace(c.name+" "+c.argument), c.help)
	}
	b.WriteString("Tab completes commands, adapters and files. A line that ends with \\ goes on in the next one; \"\"\" alone begins and\nends a text of several lines.")
	return b.String()
}

// anew begins a new conversation, and says so.
func (t *talk) anew() {
	t.reset()
	with := "without a system message"
	if t.options.system != "" {
		with = "with the system message: " + t.options.system
	}
	fmt.Fprintf(t.app.err, "A new conversation begins, %s.\n", with)
}

// command carries out a line that begins with a slash; known is false for one that is no command. What looks like a slip
// of the finger is no question.
func (t *talk) command(ctx context.Context, text string) (known, leave bool, err error) {
	word, rest, _ := strings.Cut(text, " ")
	if name, ok := talkAliases[word]; ok {
		word = name
	}
	for _, c := range talkCommands() {
		if c.name == word {
			leave, err = c.do(t, ctx, strings.TrimSpace(rest))
			return true, leave, err
		}
	}
	if !strings.HasPrefix(word, "/") {
		return false, false, nil
	}
	var names []string
	for _, c := range talkCommands() {
		names = append(names, c.name)
	}
	if near := job.Nearest(word, names); near != "" {
		return true, false, fmt.Errorf("there is no command %s; did you mean %s? /help lists the commands", word, near)
	}
	return false, false, nil
}

// change goes on with another adapter; what was said stays.
func (t *talk) change(ctx context.Context, name string) error {
	if name == "" {
		return errors.New("/adapter: name a folder, a published adapter, or base for none")
	}
	model, err := t.find(ctx, name)
	if err != nil {
		return fmt.Errorf("/adapter: %w", err)
	}
	t.model, t.options.adapterDir = model, name
	if model == "" {
		t.options.adapterDir = ""
	}
	fmt.Fprintf(t.app.err, "Talking to %s.\n", firstOf(t.options.adapterDir, t.base))
	return nil
}

// find returns the reference of an adapter in the system of this conversation, where it is published the first time
// that it is named.
func (t *talk) find(ctx context.Context, name string) (string, error) {
	if name == bareBase {
		return "", nil
	}
	if ref, ok := t.adapters[name]; ok {
		return ref, nil
	}
	at := name
	if stat, err := os.Stat(t.path(name)); err == nil && stat.IsDir() {
		at = t.path(name)
	}
	work := filepath.Join(t.work, fmt.Sprintf("adapter-%d", len(t.adapters)))
	source, err := t.app.adapterAt(ctx, at, t.base, filepath.Join(work, "fetch"))
	if err != nil {
		return "", err
	}
	ref, err := publishFolder(ctx, t.system, source.dir, filepath.Join(work, "publish"), &pb.AdapterManifest{
		Name: "adapter", Base: t.base, BaseDigest: t.digest, CreatedAt: bus.Timestamp(time.Now())})
	if err != nil {
		return "", err
	}
	t.adapters[name] = ref
	return ref, nil
}

// path is where a file lies that a person names: the embedded object store has changed the working folder.
func (t *talk) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(t.cwd, name)
}

// compare has several answer the last question, each from what was said before it.
func (t *talk) compare(ctx context.Context, list string) error {
	names := strings.Fields(list)
	if len(names) == 0 {
		return errors.New("/compare: name what shall answer: folders, published adapters, or base")
	}
	last := len(t.history) - 2
	if last < 0 || t.history[last].GetRole() != "user" {
		return errors.New("/compare: there is no question yet: ask one, then compare")
	}
	models := make([]string, len(names))
	for i, name := range names {
		var err error
		if models[i], err = t.find(ctx, name); err != nil {
			return fmt.Errorf("/compare: %w", err)
		}
	}
	answers, ends := make([]string, len(names)), make([]*pb.ChatChunk, len(names))
	group, asking := errgroup.WithContext(ctx)
	for i := range names {
		group.Go(func() (err error) {
			answers[i], ends[i], err = t.ask(asking, models[i], t.history[:last+1], func(string) {})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if !t.app.json {
		width := 0
		if terminal(t.app.out) {
			width = columns(t.app.out) - 1
		}
		_, err := fmt.Fprint(t.app.out, sideBySide(names, answers, width))
		return err
	}
	for i, name := range names {
		if name == bareBase {
			name = ""
		}
		if err := t.printJSON(name, t.history[last].GetContent(), answers[i], ends[i]); err != nil {
			return err
		}
	}
	return nil
}

// save appends the conversation to a file as a row that a training reads.
func (t *talk) save(_ context.Context, name string) error {
	if name == "" {
		return errors.New("/save: name a file")
	}
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var row struct {
		Messages []message `json:"messages"`
	}
	for _, m := range t.history {
		row.Messages = append(row.Messages, message{m.GetRole(), m.GetContent()})
	}
	if len(row.Messages) < 2 {
		return errors.New("/save: nothing has been said yet")
	}
	file, err := os.OpenFile(t.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("/save: %w", err)
	}
	encoder := json.NewEncoder(file)
	encoder.SetEscapeHTML(false)
	if err := errors.Join(encoder.Encode(row), file.Close()); err != nil {
		return fmt.Errorf("/save: %w", err)
	}
	fmt.Fprintf(t.app.err, "Saved %d messages to %s.\n", len(row.Messages), t.path(name))
	return nil
}
