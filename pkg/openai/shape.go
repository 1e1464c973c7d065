package openai

// chatAnswer is the form of chat completions.
type chatAnswer struct {
	ID      string
	Created int64
	Model   string
	begun   bool
}

func (a *chatAnswer) resolved(model string) { a.Model = model }

func (a *chatAnswer) chunk(delta ChatDelta, finish *string) ChatCompletionChunk {
	return ChatCompletionChunk{ID: a.ID, Object: "chat.completion.chunk", Created: a.Created, Model: a.Model,
		Choices: []ChatChunkChoice{{Delta: delta, FinishReason: finish}}}
}

func (a *chatAnswer) begin() []any {
	if a.begun {
		return nil
	}
	a.begun = true
	empty := ""
	return []any{a.chunk(ChatDelta{Role: "assistant", Content: &empty}, nil)}
}

func (a *chatAnswer) delta(text string) any { return a.chunk(ChatDelta{Content: &text}, nil) }

func (a *chatAnswer) end(finish string) any { return a.chunk(ChatDelta{}, &finish) }

func (a *chatAnswer) usage(u *Usage) any {
	return ChatCompletionChunk{ID: a.ID, Object: "chat.completion.chunk", Created: a.Created, Model: a.Model, Choices: []ChatChunkChoice{}, Usage: u}
}

func (a *chatAnswer) whole(text, finish string, u *Usage) any {
	return ChatCompletion{ID: a.ID, Object: "chat.completion", Created: a.Created, Model: a.Model, Usage: u,
		Choices: []ChatChoice{{Message: ChatMessage{Role: "assistant", Content: text}, FinishReason: finish}}}
}
