package grammar

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"unicode"
)

// builder makes a network.
type builder struct {
	net network
	// sets are the rules of sets of characters.
	sets map[string]int
}

func newBuilder() *builder { return &builder{sets: map[string]int{}} }

// Regex is the grammar of the texts that a regular expression matches as a whole. The syntax is that of RE2; ^ and $ may
// stand at its ends, and word boundaries and look-around are refused.
func Regex(expr string) (*Grammar, error) {
	b := newBuilder()
	p, err := b.regex(expr, b.runes, true)
	if err != nil {
		return nil, err
	}
	return b.grammar(b.net.define(p))
}

// grammar ends the making of a network.
func (b *builder) grammar(start int) (*Grammar, error) {
	if b.net.full() {
		return nil, errTooLarge
	}
	if !b.net.measure(start) {
		return nil, errors.New("allows no text of finite length")
	}
	g := &Grammar{net: b.net, start: start}
	if newStates(g).first == dead {
		return nil, errors.New("can be read in too many ways")
	}
	return g, nil
}

// regex is the part of an expression; emit makes that of one character of a set. Unless whole is set, the match may be
// anywhere in the text, except for what ^ and $ say.
func (b *builder) regex(expr string, emit func(runeSet) part, whole bool) (part, error) {
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return part{}, fmt.Errorf("%w (the syntax is RE2's)", err)
	}
	r := regexBuilder{b, emit}
	return r.branches(tree.Simplify(), whole)
}

type regexBuilder struct {
	*builder
	emit func(runeSet) part
}

// branches takes the outermost choices apart, since each has its own ^ and $.
func (r regexBuilder) branches(tree *syntax.Regexp, whole bool) (part, error) {
	switch tree.Op {
	case syntax.OpCapture:
		return r.branches(tree.Sub[0], whole)
	case syntax.OpAlternate:
		var parts []part
		for _, sub := range tree.Sub {
			p, err := r.branches(sub, whole)
			if err != nil {
				return part{}, err
			}
			parts = append(parts, p)
		}
		return r.net.either(parts...), nil
	}
	list := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		list = tree.Sub
	}
	begin, end := whole, whole
	for len(list) > 0 && list[0].Op == syntax.OpBeginText {
		begin, list = true, list[1:]
	}
	for len(list) > 0 && list[len(list)-1].Op == syntax.OpEndText {
		end, list = true, list[:len(list)-1]
	}
	p, err := r.concat(list)
	if err != nil {
		return part{}, err
	}
	all := runeSet{0, unicode.MaxRune}
	if !begin {
		p = r.net.sequence(r.net.repeat(r.emit(all)), p)
	}
	if !end {
		p = r.net.sequence(p, r.net.repeat(r.emit(all)))
	}
	return p, nil
}

func (r regexBuilder) concat(list []*syntax.Regexp) (part, error) {
	parts := []part{r.net.nothing()}
	for _, sub := range list {
		p, err := r.tree(sub)
		if err != nil {
			return part{}, err
		}
		parts = append(parts, p)
	}
	return r.net.sequence(parts...), nil
}

func (r regexBuilder) tree(tree *syntax.Regexp) (part, error) {
	if r.net.full() {
		return part{}, errTooLarge
	}
	var subs []part
	if tree.Op != syntax.OpConcat {
		for _, sub := range tree.Sub {
			p, err := r.tree(sub)
			if err != nil {
				return part{}, err
			}
			subs = append(subs, p)
		}
	}
	switch tree.Op {
	case syntax.OpEmptyMatch:
		return r.net.nothing(), nil
	case syntax.OpNoMatch:
		return part{r.net.add(), r.net.add()}, nil
	case syntax.OpLiteral:
		return r.text(tree), nil
	case syntax.OpCharClass:
		return r.emit(runeSet(tree.Rune)), nil
	case syntax.OpAnyChar:
		return r.emit(runeSet{0, unicode.MaxRune}), nil
	case syntax.OpAnyCharNotNL:
		return r.emit(runeSet{0, '\n' - 1, '\n' + 1, unicode.MaxRune}), nil
	case syntax.OpCapture:
		return subs[0], nil
	case syntax.OpStar:
		return r.net.repeat(subs[0]), nil
	case syntax.OpPlus: // the part itself leads back, so that it is needed only once
		again := r.net.add()
		r.net.link(subs[0].to, again)
		r.net.link(again, subs[0].from)
		return part{subs[0].from, again}, nil
	case syntax.OpQuest:
		return r.net.maybe(subs[0]), nil
	case syntax.OpAlternate:
		return r.net.either(subs...), nil
	case syntax.OpConcat:
		return r.concat(tree.Sub)
	case syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine:
		return part{}, fmt.Errorf("%s inside the expression is not supported: put ^ and $ at its ends", tree)
	}
	return part{}, fmt.Errorf("%s is not supported", tree)
}

// text is a literal, in any case if the expression says so.
func (r regexBuilder) text(tree *syntax.Regexp) part {
	p := r.net.nothing()
	for _, c := range tree.Rune {
		set := runeSet{c, c}
		if tree.Flags&syntax.FoldCase != 0 {
			for other := unicode.SimpleFold(c); other != c; other = unicode.SimpleFold(other) {
				set = append(set, other, other)
			}
		}
		p = r.net.sequence(p, r.emit(set))
	}
	return p
}
