package openai

// Model is a model as GET /v1/models lists it, with root and parent as vLLM has them.
type Model struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // model
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	// Root is what answers: a base itself, or the adapter's version that the id stands for now (name@version).
	Root string `json:"root"`
	// Parent is the base of an adapter; null for a base.
	Parent *string `json:"parent"`
}

// Deleted is the answer to a DELETE.
type Deleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}
