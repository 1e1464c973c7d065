package jinja

import (
	"fmt"
	"iter"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
)

// Value is a value of the template language: nil (None), bool, int64, *big.Int, float64, Text,
// *List, *Dict, *Undefined, *Namespace, callable or *loop.
type Value = any

// List is a Python list, or a tuple. It is never changed after it was made.
type List struct {
	Items []Value
	tuple bool
}

// Dict is a Python dict: ordered, keyed by any hashable value.
type Dict struct {
	keys  []Value
	vals  []Value
	index map[string]int
}

// Undefined is the value of a missing name, attribute or key. It prints as nothing, is empty and
// false; other uses fail with its message.
type Undefined struct {
	message  string
	security bool
}

// Namespace is the result of namespace(): the one value whose attributes a template may set.
type Namespace struct{ attrs *Dict }

// callable is a macro, a method or a global function.
type callable struct {
	name string
	call func(in *interp, a args) Value
}

// args are the arguments of a call.
type args struct {
	pos    []Value
	kw     *Dict
	caller *callable
}

// NewDict returns an empty dict.
func NewDict() *Dict { return &Dict{index: map[string]int{}} }

// Set sets a key, which keeps its place when it exists already.
func (d *Dict) Set(key, val Value) {
	h := hash(key)
	if i, ok := d.index[h]; ok {
		d.vals[i] = val
		return
	}
	d.index[h] = len(d.keys)
	d.keys = append(d.keys, key)
	d.vals = append(d.vals, val)
}

// SetString sets a key that the template side chose.
func (d *Dict) SetString(key string, val Value) { d.Set(plain(key), val) }

// Get returns the value of a key.
func (d *Dict) Get(key Value) (Value, bool) {
	if i, ok := d.index[hash(key)]; ok {
		return d.vals[i], true
	}
	return nil, false
}

func (d *Dict) str(key string) (Value, bool) {
	if i, ok := d.index["s"+key]; ok {
		return d.vals[i], true
	}
	return nil, false
}

func (d *Dict) pairs() []Value {
	out := make([]Value, len(d.keys))
	for i := range d.keys {
		out[i] = &List{Items: []Value{d.keys[i], d.vals[i]}, tuple: true}
	}
	return out
}

// hash gives equal values equal strings, as Python's hash and == do together.
func hash(v Value) string {
	switch v := v.(type) {
	case nil:
		return "N"
	case Text:
		return "s" + v.S
	case bool, int64, float64, *big.Int:
		if i, ok := asInt(v); ok {
			return "n" + i.String()
		}
		return "f" + floatRepr(v.(float64))
	case *List:
		if v.tuple {
			var b strings.Builder
			b.WriteString("t")
			for _, e := range v.Items {
				h := hash(e)
				b.WriteString(strconv.Itoa(len(h)) + ":" + h)
			}
			return b.String()
		}
		fail("TypeError", "unhashable type: 'list'")
	case *Dict:
		fail("TypeError", "unhashable type: 'dict'")
	}
	return fmt.Sprintf("p%p", v)
}

// asInt returns an integral number (bools and integral floats too).
func asInt(v Value) (*big.Int, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return big.NewInt(1), true
		}
		return new(big.Int), true
	case int64:
		return big.NewInt(v), true
	case *big.Int:
		return v, true
	case float64:
		if v == math.Trunc(v) && !math.IsInf(v, 0) {
			i, _ := big.NewFloat(v).Int(nil)
			return i, true
		}
	}
	return nil, false
}

// normInt returns the int64 where it fits.
func normInt(i *big.Int) Value {
	if i.IsInt64() {
		return i.Int64()
	}
	return i
}

// index returns a Python index: an int or a bool.
func indexOf(v Value) (int, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return int(v), true
	case *big.Int:
		return math.MaxInt32 * v.Sign(), true
	}
	return 0, false
}

func asFloat(v Value) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case bool, int64, *big.Int:
		i, _ := asInt(v)
		f, _ := new(big.Float).SetInt(i).Float64()
		return f, true
	}
	return 0, false
}

func truth(v Value) bool {
	switch v := v.(type) {
	case nil, *Undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case *big.Int:
		return v.Sign() != 0
	case float64:
		return v != 0
	case Text:
		return v.S != ""
	case *List:
		return len(v.Items) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

func typeName(v Value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case Text:
		return "str"
	case *List:
		if v.tuple {
			return "tuple"
		}
		return "list"
	case *Dict:
		return "dict"
	case *Undefined:
		return "Undefined"
	case *Namespace:
		return "Namespace"
	case *loop:
		return "LoopContext"
	}
	return "function"
}

// equal is Python's ==.
func equal(a, b Value) bool {
	switch x := a.(type) {
	case nil:
		return b == nil
	case Text:
		y, ok := b.(Text)
		return ok && x.S == y.S
	case bool, int64, float64, *big.Int:
		c, ok := compareNumbers(a, b)
		return ok && c == 0
	case *List:
		y, ok := b.(*List)
		if !ok || x.tuple != y.tuple || len(x.Items) != len(y.Items) {
			return false
		}
		for i := range x.Items {
			if !equal(x.Items[i], y.Items[i]) {
				return false
			}
		}
		return true
	case *Dict:
		y, ok := b.(*Dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for i, k := range x.keys {
			if w, ok := y.Get(k); !ok || !equal(x.vals[i], w) {
				return false
			}
		}
		return true
	case *Undefined:
		_, ok := b.(*Undefined)
		return ok
	}
	return a == b
}

func compareNumbers(a, b Value) (int, bool) {
	x, okx := asInt(a)
	y, oky := asInt(b)
	if okx && oky {
		return x.Cmp(y), true
	}
	f, okf := asFloat(a)
	g, okg := asFloat(b)
	if !okf || !okg || math.IsNaN(f) || math.IsNaN(g) {
		return 2, okf && okg
	}
	switch {
	case f < g:
		return -1, true
	case f > g:
		return 1, true
	}
	return 0, true
}

// compare is Python's ordering; types that have none fail as there.
func compare(a, b Value, op string) int {
	for _, v := range []Value{a, b} {
		if u, ok := v.(*Undefined); ok {
			u.fail()
		}
	}
	if x, ok := a.(Text); ok {
		if y, ok := b.(Text); ok {
			return strings.Compare(x.S, y.S)
		}
	}
	if c, ok := compareNumbers(a, b); ok {
		return c
	}
	if x, ok := a.(*List); ok {
		if y, ok := b.(*List); ok && x.tuple == y.tuple {
			for i := range min(len(x.Items), len(y.Items)) {
				if !equal(x.Items[i], y.Items[i]) {
					return compare(x.Items[i], y.Items[i], op)
				}
			}
			return len(x.Items) - len(y.Items)
		}
	}
	fail("TypeError", "'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	return 0
}

// contains is Python's `item in seq`.
func contains(item, seq Value) bool {
	switch s := seq.(type) {
	case Text:
		t, ok := item.(Text)
		if !ok {
			fail("TypeError", "'in <string>' requires string as left operand, not %s", typeName(item))
		}
		return strings.Contains(s.S, t.S)
	case *Dict:
		_, ok := s.Get(item)
		return ok
	}
	for _, e := range iterate(seq) {
		if equal(item, e) {
			return true
		}
	}
	return false
}

// iterate returns the items of anything that Python can iterate over here.
func iterate(v Value) []Value {
	switch v := v.(type) {
	case *List:
		return v.Items
	case *Dict:
		return v.keys
	case Text:
		out := make([]Value, 0, len(v.S))
		for i, r := range v.S {
			n := len(string(r))
			if r == unicode.ReplacementChar && i < len(v.S) && v.S[i] != 0xef {
				n = 1
			}
			out = append(out, v.slice(i, i+n))
		}
		return out
	case *Undefined:
		return v.items()
	}
	fail("TypeError", "'%s' object is not iterable", typeName(v))
	return nil
}

func (u *Undefined) items() []Value { return nil }

func (u *Undefined) fail() {
	if u.security {
		fail("SecurityError", "%s", u.message)
	}
	fail("UndefinedError", "%s", u.message)
}

func length(v Value) int {
	switch v := v.(type) {
	case Text:
		return v.runes()
	case *List, *Dict, *Undefined:
		return len(iterate(v))
	}
	fail("TypeError", "object of type '%s' has no len()", typeName(v))
	return 0
}

// Truth is Python's bool(v).
func Truth(v Value) bool { return truth(v) }

// All yields the keys that are texts, with their values, in order.
func (d *Dict) All() iter.Seq2[Text, Value] {
	return func(yield func(Text, Value) bool) {
		for i, k := range d.keys {
			if t, ok := k.(Text); ok && !yield(t, d.vals[i]) {
				return
			}
		}
	}
}
