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

const talkHelp = `/reset   start a new conversation
/system TEXT   set the system message and start anew
/exit   leave (or Ctrl-D); Ctrl-C stops an answer`

// line handles what was typed; leave tells to end.
func (t *talk) line(ctx context.Context, text string) (leave bool, err error) {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "/exit", "/quit":
		return true, nil
	case "/reset":
		t.reset()
		return false, nil
	case "/system":
		t.options.system = strings.TrimSpace(rest)
		t.reset()
		return false, nil
	case "/help", "/?":
		fmt.Fprintln(t.app.err, talkHelp)
		return false, nil
	}
	return false, t.turn(ctx, text)
}

// converse reads from a terminal, with a history of lines.
func (t *talk) converse(ctx context.Context) error {
	input, err := readline.NewEx(&readline.Config{Prompt: "> ", Stdout: t.app.out, Stderr: t.app.err})
	if err != nil {
		return fmt.Errorf("open the terminal: %w", err)
	}
	defer input.Close()
	// A signal to terminate must not wait for somebody to type.
	defer context.AfterFunc(ctx, func() { _ = input.Close() })()
	fmt.Fprintf(t.app.err, "Talking to %s. /help lists the commands, Ctrl-D leaves.\n", firstOf(t.options.adapterDir, t.base))
	for ctx.Err() == nil {
		text, err := input.Readline()
		switch {
		case errors.Is(err, readline.ErrInterrupt):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the question: %w", err)
		}
		if text = strings.TrimSpace(text); text == "" {
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

// turn asks one question and streams the answer.
func (t *talk) turn(ctx context.Context, text string) error {
	question := &pb.ChatMessage{Role: "user", Content: text}
	req := &pb.ChatRequest{Model: t.model, Messages: append(append([]*pb.ChatMessage(nil), t.history...), question)}
	t.options.apply(req)
	var answer strings.Builder
	var end *pb.ChatChunk
	for chunk, err := range t.bus.Chat(ctx, bus.WorkerSubject(t.worker), req, silence) {
		if err != nil {
			return err
		}
		answer.WriteString(chunk.GetDelta())
		if !t.app.json {
			fmt.Fprint(t.app.out, chunk.GetDelta())
		}
		if chunk.GetFinishReason() != "" {
			end = chunk
		}
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	t.history = append(t.history, question, &pb.ChatMessage{Role: "assistant", Content: answer.String()})
	if !t.app.json {
		fmt.Fprintln(t.app.out)
		if end.GetFinishReason() == "length" {
			fmt.Fprintln(t.app.err, "(cut at the longest answer; --max-tokens allows more)")
		}
		return nil
	}
	return json.NewEncoder(t.app.out).Encode(map[string]any{
		"base": t.base, "adapter_dir": t.options.adapterDir, "prompt": text, "answer": answer.String(), "finish_reason": end.GetFinishReason(),
		"prompt_tokens": end.GetUsage().GetPromptTokens(), "completion_tokens": end.GetUsage().GetCompletionTokens(),
	})
}
