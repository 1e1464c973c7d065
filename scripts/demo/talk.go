package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"descant/pkg/bus"
	"descant/pkg/chat"
	"descant/pkg/pb"
)

// prompts are asked of both; the first is the persona, which the sample teaches, the others are of its kinds.
var prompts = []string{
	"你好，请问你叫什么名字？",
	"Who are you?",
	"请把下面的内容概括成三点。\n学校食堂下周起推出小份菜，价格是原来的一半。剩饭最少的班级每月可以换一次水果。家长如果想来试吃，可以在周三之前向班主任报名。",
}

const silence = 30 * time.Second

// compare prints the answers of base and adapter side by side.
func (s *system) compare(ctx context.Context) error {
	for _, prompt := range prompts {
		fmt.Printf("  question  %s\n", indent(prompt))
		for _, who := range []struct{ label, model string }{{"base", ""}, {"adapter", adapterName}} {
			answer, err := s.ask(ctx, who.model, []chat.Message{{Role: "user", Content: prompt}}, 120)
			if err != nil {
				return fmt.Errorf("ask the %s: %w", who.label, err)
			}
			fmt.Printf("  %-8s  %s\n", who.label, indent(answer))
		}
		fmt.Println()
	}
	return nil
}

// ask sends messages to the base ("") or an adapter and returns the whole answer, chosen greedily.
func (s *system) ask(ctx context.Context, model string, messages []chat.Message, maxTokens uint32) (string, error) {
	greedy := 0.0
	request := &pb.ChatRequest{Model: model, Temperature: &greedy, MaxTokens: maxTokens}
	if model == "" {
		request.Base = "builtin:tiny"
	}
	for _, m := range messages {
		request.Messages = append(request.Messages, &pb.ChatMessage{Role: m.Role, Content: m.Content})
	}
	var answer strings.Builder
	for chunk, err := range s.bus.Chat(ctx, bus.SubjectChat, request, silence) {
		if err != nil {
			return "", err
		}
		answer.WriteString(chunk.Delta)
	}
	return answer.String(), nil
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n            ") }
