package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// talkCompleter completes what is typed in a conversation: commands, and behind them adapters, folders and files.
type talkCompleter struct {
	talk *talk
	// published lists the adapters of a running system.
	published func() []cobra.Completion
}

// completer completes with what is known here and in a running system.
func (t *talk) completer(ctx context.Context) *talkCompleter {
	return &talkCompleter{talk: t, published: func() []cobra.Completion { return t.app.known(ctx, adapterNames) }}
}

// Do returns how the word that ends at pos may go on, and the length of what is there of it.
func (c *talkCompleter) Do(line []rune, pos int) (rests [][]rune, length int) {
	command, argument, behind := strings.Cut(string(line[:pos]), " ")
	if !strings.HasPrefix(command, "/") {
		return nil, 0
	}
	begun := command
	if behind {
		begun = argument
		if command == "/compare" { // it takes several names
			begun = argument[strings.LastIndexByte(argument, ' ')+1:]
		}
	}
	for _, word := range c.words(command, begun, behind) {
		if rest, fits := strings.CutPrefix(word, begun); fits {
			rests = append(rests, []rune(rest))
		}
	}
	return rests, len([]rune(begun))
}

// words are what can stand for the word that has begun.
func (c *talkCompleter) words(command, begun string, behind bool) (words []string) {
	switch {
	case !behind:
		for _, known := range talkCommands() {
			words = append(words, known.name+strings.Repeat(" ", min(len(known.argument), 1)))
		}
		return words
	case command == "/save":
		return c.files(begun, true)
	case command != "/adapter" && command != "/compare":
		return nil
	}
	words = append(slices.Sorted(maps.Keys(c.talk.adapters)), bareBase)
	for _, name := range c.published() {
		name, _, _ = strings.Cut(name, "\t") // the description
		words = append(words, name)
	}
	words = append(words, c.files(begun, false)...)
	slices.Sort(words)
	return slices.Compact(words)
}

// files lists the folders beside a path that has begun, and on demand the files; hidden ones only where they are asked for.
func (c *talkCompleter) files(begun string, all bool) (paths []string) {
	dir, name := filepath.Split(begun)
	entries, err := os.ReadDir(c.talk.path(dir))
	if err != nil {
		return nil // nothing can be offered there
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") && !strings.HasPrefix(name, ".") {
			continue
		}
		stat, err := os.Stat(filepath.Join(c.talk.path(dir), entry.Name())) // a link to a folder is one
		switch {
		case err == nil && stat.IsDir():
			paths = append(paths, dir+entry.Name()+"/")
		case all:
			paths = append(paths, dir+entry.Name())
		}
	}
	return paths
}
