package openai

// PurposeFineTune is the only purpose of files here.
const PurposeFineTune = "fine-tune"

// File is a file of rows.
type File struct {
	ID        string `json:"id"`
	Object    string `json:"object"` // file
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at"`
	Filename  string `json:"filename"`
	Purpose   string `json:"purpose"`
	Status    string `json:"status"` // processed: a file is checked before it is there
	// Rows and Digest are ours: how many rows can be trained, and the sha256 of the file.
	Rows   int    `json:"rows"`
	Digest string `json:"digest"`
}
