package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/chzyer/readline"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// talk is a conversation with one model.
type talk struct {
	app     *app
	bus     *bus.Bus
	options chatOptions
	base    string
	model   string // reference of the adapter, or "" for the bare base
	worker  string // which answers

	system   *system
	digest   string            // of the base
	work     string            // folder for files of adapters
	cwd      string            // folder in which the command was given
	adapters map[string]string // references by the name that was given

	history []*pb.ChatMessage
}

// run answers the prompt, or holds a conversation.
func (t *talk) run(ctx context.Context) error {
	t.reset()
	if t.options.set("prompt") {
		return t.turn(ctx, t.options.prompt)
	}
	if terminal(t.app.in) {
		return t.converse(ctx)
	}
	// Lines from a pipe are questions, one after the other.
	lines := bufio.NewReader(t.app.in)
	for {
		line, err := lines.ReadString('\n')
		if text := strings.TrimSpace(line); text != "" {
			if leave, turnErr := t.line(ctx, text); leave || turnErr != nil {
				return turnErr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the question: %w", err)
		}
	}
}

func (t *talk) reset() {
	t.history = nil
	if t.options.system != "" {
		t.history = append(t.history, &pb.ChatMessage{Role: "system", Content: t.options.system})
	}
}

// line handles what was typed; leave tells to end.
func (t *talk) line(ctx context.Context, text string) (leave bool, err error) {
	if known, leave, err := t.command(ctx, text); known {
		return leave, err
	}
	return false, t.turn(ctx, text)
}

// historyFile is where the lines of earlier conversations lie, readable for their author only, or "" where there is
// no place for it.
func historyFile(environ []string) string {
	state := lookup(environ, "XDG_STATE_HOME")
	if home := lookup(environ, "HOME"); state == "" && home != "" {
		state = filepath.Join(home, ".local", "state")
	}
	if state == "" || os.MkdirAll(filepath.Join(state, "descant"), 0o700) != nil {
		return ""
	}
	path := filepath.Join(state, "descant", "chat_history")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil || file.Close() != nil {
		return ""
	}
	return path
}

// converse reads from a terminal, with a history of lines.
func (t *talk) converse(ctx context.Context) error {
	input, err := readline.NewEx(&readline.Config{Prompt: "> ", HistoryFile: historyFile(t.app.environ), HistorySearchFold: true, AutoComplete: t.completer(ctx), Stdout: t.app.out, Stderr: t.app.err})
	if err != nil {
		return fmt.Errorf("open the terminal: %w", err)
	}
	defer input.Close()
	// A signal to terminate must not wait for somebody to type.
	defer context.AfterFunc(ctx, func() { _ = input.Close() })()
	fmt.Fprintf(t.app.err, "Talking to %s. /help lists the commands, Ctrl-D leaves.\n", firstOf(t.options.adapterDir, t.base))
	var typed question
	for ctx.Err() == nil {
		text, err := input.Readline()
		switch {
		case errors.Is(err, readline.ErrInterrupt):
			typed = question{} // what was begun is dropped
			input.SetPrompt("> ")
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the question: %w", err)
		}
		text, whole := typed.add(text)
		input.SetPrompt("> ")
		if typed.open() {
			input.SetPrompt("… ")
		}
		if !whole || strings.TrimSpace(text) == "" {
			continue
		}
		answering, release := signal.NotifyContext(ctx, os.Interrupt)
		leave, err := t.line(answering, text)
		stopped := answering.Err() != nil && ctx.Err() == nil
		release()
		switch {
		case leave:
			return nil
		case stopped:
			fmt.Fprintln(t.app.err, "\n(stopped)")
		case err != nil:
			// The conversation goes on: the next question may fit.
			fmt.Fprintln(t.app.err, "descant:", explain(err))
		}
	}
	return nil
}

// apply sets what the flags say.
func (o *chatOptions) apply(req *pb.ChatRequest) {
	req.MaxTokens, req.Stop = o.maxTokens, o.stop
	for flag, field := range map[string]struct {
		to    **float64
		value *float64
	}{"temperature": {&req.Temperature, &o.temperature}, "top-p": {&req.TopP, &o.topP}, "min-p": {&req.MinP, &o.minP}} {
		if o.set(flag) {
			*field.to = field.value
		}
	}
	if o.set("top-k") {
		req.TopK = &o.topK
	}
	if o.set("seed") {
		req.Seed = &o.seed
	}
	if o.jsonSchema != "" {
		req.ResponseFormat = &pb.ResponseFormat{Type: "json_schema", JsonSchema: &pb.JsonSchema{Schema: o.jsonSchema}}
	}
}

// ask streams an answer of a model to messages.
func (t *talk) ask(ctx context.Context, model string, messages []*pb.ChatMessage, show func(delta string)) (string, *pb.ChatChunk, error) {
	req := &pb.ChatRequest{Model: model, Messages: messages}
	t.options.apply(req)
	var answer strings.Builder
	var end *pb.ChatChunk
	for chunk, err := range t.bus.Chat(ctx, bus.WorkerSubject(t.worker), req, silence) {
		if err != nil {
			return "", nil, err
		}
		answer.WriteString(chunk.GetDelta())
		show(chunk.GetDelta())
		if chunk.GetFinishReason() != "" {
			end = chunk
		}
	}
	if ctx.Err() != nil {
		return "", nil, context.Cause(ctx)
	}
	return answer.String(), end, nil
}

// turn asks one question and streams the answer.
func (t *talk) turn(ctx context.Context, text string) error {
	question := &pb.ChatMessage{Role: "user", Content: text}
	answer, end, err := t.ask(ctx, t.model, append(append([]*pb.ChatMessage(nil), t.history...), question), func(delta string) {
		if !t.app.json {
			fmt.Fprint(t.app.out, delta)
		}
	})
	if err != nil {
		return err
	}
	t.history = append(t.history, question, &pb.ChatMessage{Role: "assistant", Content: answer})
	if t.app.json {
		return t.printJSON(t.options.adapterDir, text, answer, end)
	}
	fmt.Fprintln(t.app.out)
	if end.GetFinishReason() == "length" {
		fmt.Fprintln(t.app.err, "(cut at the longest answer; --max-tokens allows more)")
	}
	return nil
}

func (t *talk) printJSON(adapter, prompt, answer string, end *pb.ChatChunk) error {
	return json.NewEncoder(t.app.out).Encode(map[string]any{
		"base": t.base, "adapter_dir": adapter, "prompt": prompt, "answer": answer, "finish_reason": end.GetFinishReason(),
		"prompt_tokens": end.GetUsage().GetPromptTokens(), "completion_tokens": end.GetUsage().GetCompletionTokens(),
	})
}
