package bpe

import _ "embed"

// Characters are those that get a token of their own whether or not the training text has them: common
// Chinese characters and punctuation, among them all of the built-in sample, in code-point order. The list is
// kept in a file of its own so that a later change of the sample doesn't change the tokenizer.
//
//go:embed characters.txt
var Characters string
