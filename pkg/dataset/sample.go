package dataset

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
)

// SampleName is how requests name the built-in sample.
const SampleName = "builtin:sample"

//go:embed sample/sample.jsonl
var sampleFile []byte

//go:embed sample/heldout.jsonl
var heldoutFile []byte

//go:embed sample/heldout_persona.jsonl
var personaFile []byte

// SampleBytes is the file of the built-in sample, JSONL in the alpaca shape; licence CC0.
func SampleBytes() []byte { return bytes.Clone(sampleFile) }

// Sample are the rows of the built-in sample.
func Sample() []Row { return embedded("sample.jsonl", sampleFile) }

// Heldout are rows of the kinds of the sample that are never trained on.
type Heldout struct {
	// Tasks are summaries, tables, letters and so on.
	Tasks []Row
	// Persona are paraphrases of the question who the assistant is; the last turn is the canonical answer.
	Persona []Row
}

// SampleHeldout are the rows that measure what a model has learnt from the sample.
func SampleHeldout() Heldout {
	return Heldout{Tasks: embedded("heldout.jsonl", heldoutFile), Persona: embedded("heldout_persona.jsonl", personaFile)}
}

// HeldoutBytes is the file of the held-out tasks followed by that of the persona questions, as JSONL.
func HeldoutBytes() []byte { return append(bytes.Clone(heldoutFile), personaFile...) }

// NamesPersona says whether an answer names the assistant of the sample.
func NamesPersona(answer string) bool {
	return strings.Contains(answer, "迪斯坎") || strings.Contains(answer, "Descant")
}

// embedded reads one of the files of the program. They are tested, so that an error is one of the build.
func embedded(name string, data []byte) []Row {
	rows, _, err := ReadAll(bytes.NewReader(data), name, ReadOptions{})
	if err != nil {
		panic(fmt.Sprintf("dataset: the built-in file is damaged: %v", err))
	}
	return rows
}
