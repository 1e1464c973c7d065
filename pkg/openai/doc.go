// Package openai is the dialect of OpenAI's HTTP API: the objects of requests and answers, errors, pages and event
// streams, and handlers for completions over anything that answers a pb.ChatRequest. It decides nothing and keeps
// nothing: what a request means is said by who answers it.
//
//	body ─► ReadObject ─► every member is taken or refused by name ─► pb.ChatRequest ─► Ask
//	chunks ◄── JSON, or server-sent events that end with [DONE] ◄────────────────────────┘
//	any error ─► Error: {"error": {"message", "type", "param", "code"}} and a status that SDKs know when to try again
package openai
