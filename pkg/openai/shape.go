package openai

import (
	"time"
	"unicode/utf8"

	"descant/pkg/pb"
)

// shape writes an answer in the form of one endpoint.
type shape interface {
	// events are those of a chunk of a stream.
	events(chunk *pb.ChatChunk) []any
	// usage is the event with the counts.
	usage(u *Usage) any
	// whole is the answer at once: the chunks of each choice put together.
	whole(choices []*pb.ChatChunk, u *Usage) any
}

// answerHead is what every object of an answer begins with.
type answerHead struct {
	id      string
	created int64
	model   string
}

func newHead(prefix, model string) answerHead {
	return answerHead{id: prefix + randomID(), created: time.Now().Unix(), model: model}
}

// resolve takes over which model it is that answers: a version where the request named an alias.
func (h *answerHead) resolve(chunk *pb.ChatChunk) {
	if chunk.GetModel() != "" {
		h.model = chunk.GetModel()
	}
}

// finishOf is nil until the end.
func finishOf(chunk *pb.ChatChunk) *string {
	if chunk.GetFinishReason() == "" {
		return nil
	}
	reason := chunk.GetFinishReason()
	return &reason
}

// chatShape is the form of chat completions.
type chatShape struct {
	answerHead
	begun map[uint32]bool // choices whose role was sent
	// calls takes the calls of tools out of each choice; nil where the request has no tools.
	calls map[uint32]*toolCalls
}

func newChatShape(c *Completion) *chatShape {
	s := &chatShape{answerHead: newHead("chatcmpl-", c.Request.GetModel()), begun: map[uint32]bool{}}
	if len(c.Request.GetTools()) > 0 {
		s.calls = map[uint32]*toolCalls{}
	}
	return s
}

// words takes the calls of tools out of a chunk of a choice, and tells why the choice ends, if it does.
func (s *chatShape) words(index uint32, chunk *pb.ChatChunk) (text string, calls []ToolCall, finish *string) {
	finish = finishOf(chunk)
	if s.calls == nil {
		return chunk.GetDelta(), nil, finish
	}
	if s.calls[index] == nil {
		s.calls[index] = new(toolCalls)
	}
	text, calls = s.calls[index].take(chunk.GetDelta(), finish != nil)
	if finish != nil && *finish == "stop" && s.calls[index].count > 0 {
		*finish = finishToolCalls
	}
	return text, calls, finish
}

func (s *chatShape) events(chunk *pb.ChatChunk) (all []any) {
	s.resolve(chunk)
	event := func(delta ChatDelta, logprobs *ChatLogprobs, finish *string) {
		all = append(all, ChatCompletionChunk{ID: s.id, Object: "chat.completion.chunk", Created: s.created, Model: s.model,
			Choices: []ChatChunkChoice{{Index: int(chunk.GetIndex()), Delta: delta, Logprobs: logprobs, FinishReason: finish}}})
	}
	if !s.begun[chunk.GetIndex()] {
		s.begun[chunk.GetIndex()] = true
		empty := ""
		event(ChatDelta{Role: "assistant", Content: &empty}, nil, nil)
	}
	text, calls, finish := s.words(chunk.GetIndex(), chunk)
	if text != "" || len(chunk.GetLogprobs()) > 0 {
		event(ChatDelta{Content: &text}, chatLogprobs(chunk.GetLogprobs()), nil)
	}
	for _, call := range calls {
		event(ChatDelta{ToolCalls: []ToolCall{call}}, nil, nil)
	}
	if finish != nil {
		event(ChatDelta{}, nil, finish)
	}
	return all
}

func (s *chatShape) usage(u *Usage) any {
	return ChatCompletionChunk{ID: s.id, Object: "chat.completion.chunk", Created: s.created, Model: s.model, Choices: []ChatChunkChoice{}, Usage: u}
}

func (s *chatShape) whole(choices []*pb.ChatChunk, u *Usage) any {
	answer := ChatCompletion{ID: s.id, Object: "chat.completion", Created: s.created, Model: s.model, Usage: u}
	for i, choice := range choices {
		s.resolve(choice)
		answer.Model = s.model
		text, calls, finish := s.words(uint32(i), choice)
		message := ChatMessage{Role: "assistant", Content: &text, ToolCalls: calls}
		if text == "" && len(calls) > 0 {
			message.Content = nil
		}
		for i := range calls {
			calls[i].Index = nil // the list has an order
		}
		answer.Choices = append(answer.Choices, ChatChoice{Index: i, Message: message, Logprobs: chatLogprobs(choice.GetLogprobs()), FinishReason: *finish})
	}
	return answer
}

func chatLogprobs(list []*pb.TokenLogprob) *ChatLogprobs {
	if len(list) == 0 {
		return nil
	}
	out := new(ChatLogprobs)
	for _, one := range list {
		token := TokenLogprob{Token: one.GetToken(), Logprob: one.GetLogprob(), Bytes: one.GetBytes(), TopLogprobs: []TopLogprob{}}
		for _, top := range one.GetTopLogprobs() {
			token.TopLogprobs = append(token.TopLogprobs, TopLogprob{Token: top.GetToken(), Logprob: top.GetLogprob(), Bytes: top.GetBytes()})
		}
		out.Content = append(out.Content, token)
	}
	return out
}

// textShape is the form of completions.
type textShape struct {
	answerHead
	offset map[uint32]int // characters of each choice so far
}

func newTextShape(c *Completion) *textShape {
	return &textShape{answerHead: newHead("cmpl-", c.Request.GetModel()), offset: map[uint32]int{}}
}

func (s *textShape) object(choices []TextChoice, u *Usage) TextCompletion {
	return TextCompletion{ID: s.id, Object: "text_completion", Created: s.created, Model: s.model, Choices: choices, Usage: u}
}

func (s *textShape) choice(index uint32, chunk *pb.ChatChunk) TextChoice {
	s.resolve(chunk)
	return TextChoice{Index: int(index), Text: chunk.GetDelta(), Logprobs: s.logprobs(index, chunk.GetLogprobs()), FinishReason: finishOf(chunk)}
}

func (s *textShape) events(chunk *pb.ChatChunk) []any {
	return []any{s.object([]TextChoice{s.choice(chunk.GetIndex(), chunk)}, nil)}
}

func (s *textShape) usage(u *Usage) any { return s.object([]TextChoice{}, u) }

func (s *textShape) whole(chunks []*pb.ChatChunk, u *Usage) any {
	var choices []TextChoice
	for i, chunk := range chunks {
		choices = append(choices, s.choice(uint32(i), chunk))
	}
	return s.object(choices, u)
}

func (s *textShape) logprobs(index uint32, list []*pb.TokenLogprob) *TextLogprobs {
	if len(list) == 0 {
		return nil
	}
	out := new(TextLogprobs)
	for _, one := range list {
		top := map[string]float64{}
		for _, other := range one.GetTopLogprobs() {
			top[other.GetToken()] = other.GetLogprob()
		}
		out.Tokens = append(out.Tokens, one.GetToken())
		out.TokenLogprobs = append(out.TokenLogprobs, one.GetLogprob())
		out.TopLogprobs = append(out.TopLogprobs, top)
		out.TextOffset = append(out.TextOffset, s.offset[index])
		s.offset[index] += utf8.RuneCountInString(one.GetToken())
	}
	return out
}
