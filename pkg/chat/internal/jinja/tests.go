package jinja

import (
	"math/big"
	"unicode"
)

func applyTest(in *interp, name string, v Value, a args) bool {
	arg := func() Value {
		if len(a.pos) == 0 {
			fail("TypeError", "test '%s' needs an argument", name)
		}
		return a.pos[0]
	}
	switch name {
	case "defined":
		_, ok := v.(*Undefined)
		return !ok
	case "undefined":
		_, ok := v.(*Undefined)
		return ok
	case "none":
		return v == nil
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "true":
		return v == true
	case "false":
		return v == false
	case "integer":
		switch v.(type) {
		case int64, *big.Int:
			return true
		}
		return false
	case "float":
		_, ok := v.(float64)
		return ok
	case "number":
		_, ok := asFloat(v)
		return ok
	case "string":
		_, ok := v.(Text)
		return ok
	case "mapping":
		_, ok := v.(*Dict)
		return ok
	case "sequence":
		switch v.(type) {
		case Text, *List, *Dict, *Undefined:
			return true
		}
		return false
	case "iterable":
		switch v.(type) {
		case Text, *List, *Dict, *Undefined, *loop:
			return true
		}
		return false
	case "callable":
		switch v.(type) {
		case *callable, *loop, *Undefined:
			return true
		}
		return false
	case "odd":
		return equal(arithmetic("%", v, int64(2)), int64(1))
	case "even":
		return equal(arithmetic("%", v, int64(2)), int64(0))
	case "divisibleby":
		return equal(arithmetic("%", v, arg()), int64(0))
	case "eq", "equalto", "==":
		return equal(v, arg())
	case "ne", "!=":
		return !equal(v, arg())
	case "lt", "lessthan", "<":
		return holds("<", v, arg())
	case "le", "<=":
		return holds("<=", v, arg())
	case "gt", "greaterthan", ">":
		return holds(">", v, arg())
	case "ge", ">=":
		return holds(">=", v, arg())
	case "in":
		return contains(v, arg())
	case "sameas":
		return same(v, arg())
	case "lower":
		return cased(toText(v).S, unicode.IsLower)
	case "upper":
		return cased(toText(v).S, unicode.IsUpper)
	case "escaped":
		t, ok := v.(Text)
		return ok && t.safe
	case "filter":
		return isFilter(toText(v).S)
	case "test":
		return isTest(in, toText(v).S)
	}
	fail("TemplateAssertionError", "No test named '%s'.", name)
	return false
}

// isTest tells whether a test exists: any failure but the one for an unknown name says yes.
func isTest(in *interp, name string) (ok bool) {
	defer func() {
		if e, is := recover().(*Error); is {
			ok = e.Type != "TemplateAssertionError"
		}
	}()
	applyTest(in, name, int64(1), args{pos: []Value{int64(1)}})
	return true
}

// same is Python's `is`: identity of small values, of lists and of dicts.
func same(a, b Value) bool {
	switch a.(type) {
	case Text, *big.Int:
		return typeName(a) == typeName(b) && equal(a, b)
	case bool, int64, float64, nil:
		return a == b
	}
	switch b.(type) {
	case Text:
		return false
	}
	return a == b
}

// cased says whether all cased letters of s satisfy is, and there is one.
func cased(s string, is func(rune) bool) bool {
	found := false
	for _, r := range s {
		if unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r) {
			if !is(r) {
				return false
			}
			found = true
		}
	}
	return found
}
