package openai

import "strings"

// elsewhere says, of parts of OpenAI's API that are not here, what to use in their place.
var elsewhere = []struct{ prefix, instead string }{
	{"/v1/responses", "send the conversation to POST /v1/chat/completions (in Vercel's AI SDK: openai.chat(model))"},
	{"/v1/uploads", "send the file in one request to POST /v1/files, however large it is (gateway.max_upload bounds it)"},
	{"/v1/batches", "send the requests one by one to POST /v1/chat/completions; they share batches here anyway"},
	{"/v1/embeddings", "the models here generate text; there are no embeddings"},
	{"/v1/assistants", "send the conversation to POST /v1/chat/completions"},
	{"/v1/threads", "send the conversation to POST /v1/chat/completions"},
	{"/v1/conversations", "send the conversation to POST /v1/chat/completions"},
	{"/v1/fine_tuning/checkpoints", "checkpoints are not shared; the keys of the API say who may use a model"},
	{"/v1/fine_tuning/alpha", "there is supervised fine-tuning only, which needs no grader"},
}

// unknownURL is the error for a path that is not there.
func unknownURL(path string) *Error {
	for _, other := range elsewhere {
		if rest, ok := strings.CutPrefix(path, other.prefix); ok && (rest == "" || rest[0] == '/') {
			return NotFound("", CodeUnknownURL, "%s is not a part of OpenAI's API that is here: %s", other.prefix, other.instead)
		}
	}
	return NotFound("", CodeUnknownURL, "there is no %s; GET /openapi.yaml lists what there is", path)
}
