// Package grammar says which tokens a text may go on with so that it matches a regular expression or a JSON schema. It
// knows tokens as byte strings only.
//
//	regular expression ─┐                                         ┌─► set of tokens, kept per state
//	JSON schema ────────┴─► network ─► states, made when reached ─┤
//	                                                              └─► next state, by a token's bytes
//
// A [Grammar] is a recursive transition network over bytes: a nondeterministic automaton whose edges are ranges of bytes
// or calls of another part of it, which is what references and free JSON values need. A state is the set of places where
// one may be, each with the calls that are open; states and the steps between them are made when they are reached, and
// kept, so that the automaton is deterministic where it is used. The tokens of a state are found by walking the trie of
// the vocabulary ([Vocabulary]) along with the states; a branch of the trie ends where no text goes on.
//
// Every text that comes out of it can be completed: places from which no end can be reached within the allowed depth of
// calls are never entered.
package grammar
