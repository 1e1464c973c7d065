package grammar

import (
	"math/big"
	"strings"
)

// formats are the formats of strings that are supported, as expressions; all their texts are valid by RFC 3339, RFC 4122
// and RFC 2673. A 29th of February is never written, since it would need the year.
var formats = map[string]string{
	"date":      dateExpr,
	"time":      timeExpr,
	"date-time": dateExpr + "T" + timeExpr,
	"uuid":      `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`,
	"ipv4":      `(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}`,
}

const (
	dateExpr = `[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))`
	timeExpr = `([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`
	// A \u escape is no half of a surrogate pair: such a text could not be read.
	escapeExpr = `\\(["\\/bfnrt]|u([0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))`
)

// string is a JSON string: of a number of characters, or that a pattern or a format allows.
func (s *schemaBuilder) string(v *value, place string) part {
	pattern, format := v.get("pattern"), v.get("format")
	if pattern == nil && format == nil {
		low, high := s.bounds(v, "minLength", "maxLength", place)
		char := s.rule("char", func() part { return s.net.either(s.runes(plainRunes), s.fixed(escapeExpr)) })
		return s.quoted(s.net.times(char, low, high))
	}
	word, given := "pattern", pattern
	if pattern == nil {
		word, given = "format", format
	}
	for _, other := range stringWords {
		if other != word && v.get(other) != nil {
			s.problem(place+"."+other, "", "is not supported beside "+word, "say it in the pattern, or leave it out")
		}
	}
	if given.kind != text {
		s.problem(place+"."+word, shorten(given.raw), "is no text", "give a text")
		return s.net.nothing()
	}
	if word == "format" {
		expr, known := formats[given.text]
		if !known {
			s.problem(place+".format", given.text, "is not supported", "use date, time, date-time, uuid or ipv4, or a pattern")
			return s.net.nothing()
		}
		return s.quoted(s.fixed(expr))
	}
	p, err := s.regex(given.text, s.inString, false)
	if err != nil {
		s.problem(place+".pattern", shorten(given.text), err.Error(), "write it otherwise, or leave it out")
		return s.net.nothing()
	}
	return s.quoted(p)
}

func (s *schemaBuilder) quoted(p part) part {
	return s.net.sequence(s.net.literal(`"`), p, s.net.literal(`"`))
}

// maxDigits is how many digits a number has on each side of its point at most: what every reader keeps exactly.
const maxDigits = 15

// number is any number of at most 15 digits before and behind the point and two in the exponent, without an exponent where
// there are bounds.
func (s *schemaBuilder) number(v *value, place string) part {
	var low, high *signed
	for _, word := range numberWords {
		given := v.get(word)
		if given == nil {
			continue
		}
		bound, ok := signedBound(given, strings.HasPrefix(word, "exclusive"))
		if !ok {
			s.problem(place+"."+word, shorten(given.raw), "is no usable bound", "give a number without an exponent, of at most 15 digits before and 14 behind the point")
			continue
		}
		side := &low
		if strings.HasSuffix(strings.ToLower(word), "maximum") {
			side = &high
		}
		if *side != nil {
			s.problem(place+"."+word, "", "is a second bound on the same side", "leave one of them out")
		}
		*side = bound
	}
	if low != nil || high != nil {
		exprs := bounded(low, high)
		if len(exprs) == 0 {
			s.problem(place, "", "has no number within its bounds", "correct minimum and maximum")
			return s.net.nothing()
		}
		return s.fixed(strings.Join(exprs, "|"))
	}
	return s.fixed(`-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?`)
}

// integer is a whole number of at most 15 digits within bounds.
func (s *schemaBuilder) integer(v *value, place string) part {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(maxDigits), nil)
	limit.Sub(limit, big.NewInt(1))
	low, high := new(big.Int).Neg(limit), limit
	for _, b := range []struct {
		word             string
		bound            **big.Int
		lower, exclusive bool
	}{{"minimum", &low, true, false}, {"exclusiveMinimum", &low, true, true}, {"maximum", &high, false, false}, {"exclusiveMaximum", &high, false, true}} {
		given := v.get(b.word)
		if given == nil {
			continue
		}
		bound, ok := wholeBound(given, b.lower, b.exclusive)
		if !ok {
			s.problem(place+"."+b.word, shorten(given.raw), "is no usable bound", "give a number without an exponent")
			continue
		}
		if b.lower == (bound.Cmp(*b.bound) > 0) {
			*b.bound = bound
		}
	}
	if low.Cmp(high) > 0 {
		s.problem(place, "", "has no integer of at most 15 digits within its bounds", "correct minimum and maximum")
		return s.net.nothing()
	}
	return s.fixed(strings.Join(between(low, high), "|"))
}

// wholeBound is the first whole number that a bound allows.
func wholeBound(given *value, lower, exclusive bool) (*big.Int, bool) {
	// An exponent could stand for a number that fills the memory.
	if given.kind != number || len(given.text) > 40 || strings.ContainsAny(given.text, "eE") {
		return nil, false
	}
	exact, ok := new(big.Rat).SetString(given.text)
	if !ok {
		return nil, false
	}
	whole := new(big.Int).Div(exact.Num(), exact.Denom()) // rounded down: the divisor is positive
	switch {
	case lower && (!exact.IsInt() || exclusive):
		whole.Add(whole, big.NewInt(1))
	case !lower && exact.IsInt() && exclusive:
		whole.Sub(whole, big.NewInt(1))
	}
	return whole, true
}

// between lists expressions that together match the whole numbers low to high.
func between(low, high *big.Int) (list []string) {
	zero, one := new(big.Int), big.NewInt(1)
	if low.Sign() < 0 {
		last := new(big.Int).Neg(one)
		if high.Cmp(last) < 0 {
			last = high
		}
		for _, expr := range between(new(big.Int).Neg(last), new(big.Int).Neg(low)) {
			list = append(list, "-"+expr)
		}
		low = zero
	}
	if low.Cmp(high) > 0 {
		return list
	}
	// One length of numbers after the other.
	from, to := low.String(), high.String()
	for len(from) < len(to) {
		list = append(list, sameLength(from, strings.Repeat("9", len(from)))...)
		from = "1" + strings.Repeat("0", len(from))
	}
	return append(list, sameLength(from, to)...)
}

// sameLength lists expressions for the numbers from low to high, which have equally many digits.
func sameLength(low, high string) (list []string) {
	if low == "" {
		return []string{""}
	}
	zeros, nines := strings.Repeat("0", len(low)-1), strings.Repeat("9", len(low)-1)
	first, last := low[0], high[0]
	prefixed := func(digit byte, rest []string) {
		for _, expr := range rest {
			list = append(list, string(digit)+expr)
		}
	}
	if first == last {
		prefixed(first, sameLength(low[1:], high[1:]))
		return list
	}
	if low[1:] != zeros {
		prefixed(first, sameLength(low[1:], nines))
		first++
	}
	var tail []string
	if high[1:] != nines {
		tail = sameLength(zeros, high[1:])
		last--
	}
	if first <= last {
		expr := "[" + string(first) + "-" + string(last) + "]"
		for range len(low) - 1 {
			expr += "[0-9]"
		}
		list = append(list, expr)
	}
	prefixed(high[0], tail)
	return list
}
