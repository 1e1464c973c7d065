package grammar

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// anything is any JSON value. Values in it are calls of it, so that they nest.
func (s *schemaBuilder) anything() part {
	if rule, made := s.pieces["value"]; made {
		return s.net.call(rule)
	}
	return s.net.call(s.net.recursive(func(rule int) part {
		s.pieces["value"] = rule
		free := &value{}
		return s.net.either(s.object(free, ""), s.array(free, ""), s.string(free, ""), s.number(free, ""), s.fixed("true|false|null"))
	}))
}

// object writes the properties in their order, those that are not required or not, and then others if the schema says so.
func (s *schemaBuilder) object(v *value, place string) part {
	properties, required := s.properties(v, place)
	var extra *part
	if others := s.others(v, place, properties); others != nil {
		extra = others
	}
	// fresh is where nothing was written yet, going where something was.
	begin, end := s.net.add(), s.net.add()
	fresh, going := begin, s.net.add()
	for _, m := range properties {
		p := s.net.sequence(s.net.literal(quote(m.key)+":"), s.space(), s.schema(m.value, place+".properties."+m.key))
		next := s.net.add()
		comma := s.net.sequence(s.net.literal(","), s.space())
		s.net.link(fresh, p.from)
		s.net.link(going, comma.from)
		s.net.link(comma.to, p.from)
		s.net.link(p.to, next)
		if slices.Contains(required, m.key) {
			fresh = s.net.add() // cannot be reached: something is written
		} else {
			s.net.link(going, next)
		}
		going = next
	}
	if extra != nil {
		comma := s.net.sequence(s.net.literal(","), s.space())
		s.net.link(fresh, extra.from)
		s.net.link(extra.to, going)
		s.net.link(going, comma.from)
		s.net.link(comma.to, extra.from)
	}
	s.net.link(fresh, end)
	last := s.space()
	s.net.link(going, last.from)
	s.net.link(last.to, end)
	return s.net.sequence(s.net.literal("{"), s.space(), part{begin, end}, s.net.literal("}"))
}

// properties reads what has a name: the properties in order, then what is required and has no schema of its own.
func (s *schemaBuilder) properties(v *value, place string) (properties []member, required []string) {
	if given := v.get("properties"); given != nil {
		if given.kind != object {
			s.problem(place+".properties", shorten(given.raw), "is no object", "give a schema for each name")
		}
		properties = append(properties, given.members...)
	}
	given := v.get("required")
	if given == nil {
		return properties, nil
	}
	if given.kind != array {
		s.problem(place+".required", shorten(given.raw), "is no list of names", "give a list")
	}
	rest := v.get("additionalProperties")
	for i, item := range given.items {
		if item.kind != text {
			s.problem(place+".required["+strconv.Itoa(i)+"]", shorten(item.raw), "is no name", "give names of properties")
			continue
		}
		required = append(required, item.text)
		if slices.ContainsFunc(properties, func(m member) bool { return m.key == item.text }) {
			continue
		}
		if rest != nil && rest.raw == "false" {
			s.problem(place+".required["+strconv.Itoa(i)+"]", shorten(item.raw), "is no property, and additionalProperties is false", "give it a schema in properties")
			continue
		}
		schema := rest
		if schema == nil {
			schema = &value{kind: object, raw: "{}"}
		}
		properties = append(properties, member{item.text, schema})
	}
	return properties, required
}

// others is one property besides the named ones, nil if there may be none: those are written only where the schema has
// additionalProperties, or says nothing of properties at all.
func (s *schemaBuilder) others(v *value, place string, named []member) *part {
	schema := v.get("additionalProperties")
	switch {
	case schema == nil && len(named) > 0 || schema != nil && schema.raw == "false":
		return nil
	case schema == nil && v.get("properties") != nil:
		return nil
	case schema == nil:
		schema = &value{kind: boolean, raw: "true"}
	}
	var names []string
	for _, m := range named {
		if quote(m.key) == `"`+m.key+`"` { // others are not written in otherName
			names = append(names, m.key)
		}
	}
	p := s.net.sequence(s.net.literal(`"`), s.otherName(names), s.net.literal(`":`), s.space(), s.schema(schema, place+".additionalProperties"))
	return &p
}

// otherName is a text without escapes that is none of the names, which have none either.
func (s *schemaBuilder) otherName(names []string) part {
	end := s.net.add()
	rest := s.net.repeat(s.runes(plainRunes))
	s.net.link(rest.to, end)
	first := s.net.add()
	// One place for each beginning of a name, going on by what the names have next.
	var walk func(at node, tails []string)
	walk = func(at node, tails []string) {
		others := plainRunes
		for len(tails) > 0 && tails[0] == "" {
			tails = tails[1:]
		}
		for len(tails) > 0 {
			r, size := utf8.DecodeRuneInString(tails[0])
			var longer []string
			for len(tails) > 0 && strings.HasPrefix(tails[0], string(r)) {
				longer, tails = append(longer, tails[0][size:]), tails[1:]
			}
			p := s.runes(runeSet{r, r})
			s.net.link(at, p.from)
			if longer[0] != "" { // not yet a name
				s.net.link(p.to, end)
			}
			walk(p.to, longer)
			others = without(others, r)
		}
		p := s.runes(others)
		s.net.link(at, p.from)
		s.net.link(p.to, rest.from)
	}
	slices.Sort(names)
	if !slices.Contains(names, "") {
		s.net.link(first, end)
	}
	walk(first, names)
	return part{first, end}
}

// plainRunes are the characters that stand in a JSON string as they are.
var plainRunes = runeSet{' ', '"' - 1, '"' + 1, '\\' - 1, '\\' + 1, unicode.MaxRune}

// without is a set without one character.
func without(set runeSet, r rune) (out runeSet) {
	for i := 0; i < len(set); i += 2 {
		low, high := set[i], set[i+1]
		if r < low || r > high {
			out = append(out, low, high)
			continue
		}
		if low < r {
			out = append(out, low, r-1)
		}
		if r < high {
			out = append(out, r+1, high)
		}
	}
	return out
}

// array writes the first items by prefixItems, the others by items.
func (s *schemaBuilder) array(v *value, place string) part {
	low, high := s.bounds(v, "minItems", "maxItems", place)
	var first []*value
	if given := v.get("prefixItems"); given != nil {
		if given.kind != array {
			s.problem(place+".prefixItems", shorten(given.raw), "is no list of schemas", "give a list")
		}
		first = given.items
	}
	items := v.get("items")
	switch {
	case items == nil && v.get("prefixItems") == nil:
		items = &value{kind: boolean, raw: "true"}
	case items != nil && items.raw == "false", items == nil: // nothing behind the first
		items = nil
		if high < 0 || high > len(first) {
			high = len(first)
		}
		if low > high {
			s.problem(place+".minItems", strconv.Itoa(low), "is more than the schemas of the items allow", "give it at most "+strconv.Itoa(high))
			return s.net.nothing()
		}
	}
	return s.net.sequence(s.net.literal("["), s.space(), s.items(first, items, low, high, place), s.net.literal("]"))
}

// items is the inside of an array: low to high items, without a limit for high < 0.
func (s *schemaBuilder) items(first []*value, rest *value, low, high int, place string) part {
	begin, end := s.net.add(), s.net.add()
	closing := s.space()
	s.net.link(closing.to, end)
	if low == 0 {
		s.net.link(begin, end)
	}
	at, n := begin, 0
	item := func(p part) {
		if n > 0 {
			p = s.net.sequence(s.net.literal(","), s.space(), p)
		}
		s.net.link(at, p.from)
		if at, n = p.to, n+1; n >= low {
			s.net.link(at, closing.from)
		}
	}
	for i, schema := range first {
		if high < 0 || n < high {
			item(s.schema(schema, place+".prefixItems["+strconv.Itoa(i)+"]"))
		}
	}
	if rest == nil || high >= 0 && n >= high {
		return part{begin, end}
	}
	rule := s.net.define(s.schema(rest, place+".items"))
	for n < max(low, 1) || high >= 0 && n < high {
		item(s.net.call(rule))
		if s.net.full() {
			break
		}
	}
	if high < 0 {
		more := s.net.sequence(s.net.literal(","), s.space(), s.net.call(rule))
		s.net.link(at, more.from)
		s.net.link(more.to, at)
	}
	return part{begin, end}
}
