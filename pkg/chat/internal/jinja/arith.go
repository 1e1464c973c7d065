package jinja

import (
	"math"
	"math/big"
)

// maxText bounds the texts that a template may make by repetition.
const maxText = 64 << 20

// number1 checks the operand of a sign.
func number1(v Value, op string) Value {
	switch v := v.(type) {
	case bool:
		i, _ := asInt(v)
		return normInt(i)
	case int64, float64, *big.Int:
		return v
	case *Undefined:
		v.fail()
	}
	fail("TypeError", "bad operand type for unary %s: '%s'", op, typeName(v))
	return nil
}

// arithmetic is Python's binary operators.
func arithmetic(op string, a, b Value) Value {
	if t, ok := a.(Text); ok && op == "%" {
		return percentFormat(t, b)
	}
	for _, v := range []Value{a, b} {
		if u, ok := v.(*Undefined); ok {
			u.fail()
		}
	}
	switch op {
	case "+":
		if v, ok := addSequences(a, b); ok {
			return v
		}
	case "*":
		if v, ok := repeat(a, b); ok {
			return v
		}
		if v, ok := repeat(b, a); ok {
			return v
		}
	}
	_, fa := a.(float64)
	_, fb := b.(float64)
	x, okx := asFloat(a)
	y, oky := asFloat(b)
	if !okx || !oky {
		fail("TypeError", "unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	}
	if !fa && !fb && op != "/" {
		i, _ := asInt(a)
		j, _ := asInt(b)
		if v, ok := integers(op, i, j); ok {
			return v
		}
	}
	return floats(op, x, y)
}

func addSequences(a, b Value) (Value, bool) {
	switch x := a.(type) {
	case Text:
		y, ok := b.(Text)
		if !ok {
			fail("TypeError", "can only concatenate str (not \"%s\") to str", typeName(b))
		}
		if x.safe || y.safe {
			t := concat(escaped(x), escaped(y))
			t.safe = true
			return t, true
		}
		return concat(x, y), true
	case *List:
		y, ok := b.(*List)
		if !ok || x.tuple != y.tuple {
			fail("TypeError", "can only concatenate %s (not \"%s\") to %s", typeName(a), typeName(b), typeName(a))
		}
		items := append(append([]Value{}, x.Items...), y.Items...)
		return &List{Items: items, tuple: x.tuple}, true
	}
	return nil, false
}

func repeat(seq, times Value) (Value, bool) {
	n, ok := indexOf(times)
	if !ok {
		return nil, false
	}
	n = max(n, 0)
	switch s := seq.(type) {
	case Text:
		if n*max(len(s.S), 1) > maxText || n > maxText {
			fail("MemoryError", "a text of more than %d bytes", maxText)
		}
		var b builder
		for range n {
			b.add(s)
		}
		return b.text(), true
	case *List:
		if n*max(len(s.Items), 1) > maxText/16 || n > maxText {
			fail("MemoryError", "a list of more than %d items", maxText/16)
		}
		out := &List{tuple: s.tuple}
		for range n {
			out.Items = append(out.Items, s.Items...)
		}
		return out, true
	}
	return nil, false
}

// integers computes with ints of any size; false where the result is a float.
func integers(op string, i, j *big.Int) (Value, bool) {
	r := new(big.Int)
	switch op {
	case "+":
		r.Add(i, j)
	case "-":
		r.Sub(i, j)
	case "*":
		r.Mul(i, j)
	case "//", "%":
		if j.Sign() == 0 {
			fail("ZeroDivisionError", "integer division or modulo by zero")
		}
		m := new(big.Int)
		r.QuoRem(i, j, m)
		if m.Sign() != 0 && m.Sign() != j.Sign() {
			r.Sub(r, big.NewInt(1))
			m.Add(m, j)
		}
		if op == "%" {
			r = m
		}
	case "**":
		if j.Sign() < 0 {
			return nil, false
		}
		if i.BitLen()*int(min(j.Int64(), maxText)) > 1<<20 {
			fail("OverflowError", "the result of ** is too large")
		}
		r.Exp(i, j, nil)
	}
	return normInt(r), true
}

func floats(op string, x, y float64) Value {
	if y == 0 && (op == "/" || op == "//" || op == "%") {
		fail("ZeroDivisionError", "division by zero")
	}
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	case "%":
		m := math.Mod(x, y)
		if m != 0 && (m < 0) != (y < 0) {
			m += y
		}
		return m
	}
	return math.Pow(x, y)
}

// joinTexts joins texts. Without autoescape nothing is escaped, not even beside safe texts.
func joinTexts(sep Text, parts []Text) Text {
	var b builder
	for i, p := range parts {
		if i > 0 {
			b.add(sep)
		}
		b.add(p)
	}
	return b.text()
}
