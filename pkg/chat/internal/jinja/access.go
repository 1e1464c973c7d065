package jinja

import "strings"

// getAttr is `obj.name`: an attribute first, then a key.
func getAttr(obj Value, name string) Value {
	if u, ok := obj.(*Undefined); ok {
		u.fail()
	}
	if v, ok := attribute(obj, name); ok {
		return v
	}
	if v, ok := item(obj, plain(name)); ok {
		return v
	}
	return missing(obj, name)
}

// getItem is `obj[key]`: a key first, then an attribute.
func getItem(obj, key Value) Value {
	if u, ok := obj.(*Undefined); ok {
		u.fail()
	}
	if v, ok := item(obj, key); ok {
		return v
	}
	if name, ok := key.(Text); ok {
		if v, ok := attribute(obj, name.S); ok {
			return v
		}
		return missing(obj, name.S)
	}
	if _, ok := key.(*Undefined); !ok {
		return missing(obj, toText(key).S)
	}
	return missing(obj, "Undefined")
}

func missing(obj Value, name string) Value {
	kind := typeName(obj) + " object"
	if obj == nil {
		return &Undefined{message: "None has no attribute '" + name + "'"}
	}
	return &Undefined{message: "'" + kind + "' has no attribute '" + name + "'"}
}

// mutators are the methods that the immutable sandbox refuses.
func mutator(obj Value, name string) bool {
	switch o := obj.(type) {
	case *List:
		return !o.tuple && strings.Contains(" append clear pop reverse insert sort extend remove ", " "+name+" ")
	case *Dict:
		return strings.Contains(" clear pop popitem setdefault update ", " "+name+" ")
	}
	return false
}

func attribute(obj Value, name string) (Value, bool) {
	if strings.HasPrefix(name, "__") || mutator(obj, name) {
		return &Undefined{message: "access to attribute '" + name + "' of '" + typeName(obj) + "' object is unsafe.", security: true}, true
	}
	switch o := obj.(type) {
	case *loop:
		v := o.attr(name)
		return v, v != nil
	case *Namespace:
		v, ok := o.attrs.str(name)
		return v, ok
	case *cycler:
		return o.attr(name)
	case *callable:
		if name == "name" {
			return plain(o.name), true
		}
	case Text:
		if f := textMethod(name); f != nil {
			return &callable{name, func(_ *interp, a args) Value { return f(o, a) }}, true
		}
	case *List:
		return listMethod(o, name)
	case *Dict:
		return dictMethod(o, name)
	}
	return nil, false
}

// item is Python's obj[key]; false where it fails in any way.
func item(obj, key Value) (Value, bool) {
	switch o := obj.(type) {
	case *Dict:
		switch k := key.(type) {
		case Text:
			return o.str(k.S)
		case *List, *Dict:
			if l, ok := k.(*List); !ok || !l.tuple {
				return nil, false
			}
		}
		return o.Get(key)
	case *List:
		if i, ok := position(key, len(o.Items)); ok {
			return o.Items[i], true
		}
	case Text:
		if i, ok := position(key, o.runes()); ok {
			from := o.byteOffset(i)
			return o.slice(from, o.byteOffset(i+1)), true
		}
	}
	return nil, false
}

func position(key Value, n int) (int, bool) {
	i, ok := indexOf(key)
	if ok && i < 0 {
		i += n
	}
	return i, ok && i >= 0 && i < n
}

// slice is Python's obj[start:stop:step].
func slice(obj, start, stop, step Value) Value {
	if u, ok := obj.(*Undefined); ok {
		u.fail()
	}
	part := func(v Value, def int) int {
		if v == nil {
			return def
		}
		i, ok := indexOf(v)
		if !ok {
			if u, isU := v.(*Undefined); isU {
				u.fail()
			}
			fail("TypeError", "slice indices must be integers or None or have an __index__ method")
		}
		return i
	}
	by := part(step, 1)
	if by == 0 {
		fail("ValueError", "slice step cannot be zero")
	}
	switch o := obj.(type) {
	case *List:
		out := &List{tuple: o.tuple}
		for _, i := range sliceIndices(part, start, stop, by, len(o.Items)) {
			out.Items = append(out.Items, o.Items[i])
		}
		return out
	case Text:
		n := o.runes()
		idx := sliceIndices(part, start, stop, by, n)
		if len(idx) == 0 {
			return o.slice(0, 0)
		}
		if by == 1 {
			return o.slice(o.byteOffset(idx[0]), o.byteOffset(idx[len(idx)-1]+1))
		}
		chars := iterate(o)
		var b builder
		for _, i := range idx {
			b.add(chars[i].(Text))
		}
		return b.text()
	}
	return missing(obj, "slice")
}

func sliceIndices(part func(Value, int) int, start, stop Value, by, n int) []int {
	low, high := 0, n
	if by < 0 {
		low, high = -1, n-1
	}
	clamp := func(v Value, def int) int {
		if v == nil {
			return def
		}
		i := part(v, def)
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	var out []int
	if by > 0 {
		for i, end := clamp(start, low), clamp(stop, high); i < end; i += by {
			out = append(out, i)
		}
		return out
	}
	for i, end := clamp(start, high), clamp(stop, low); i > end; i += by {
		out = append(out, i)
	}
	return out
}
