package jinja

import (
	"slices"
	"strconv"
	"strings"
)

// sequenceFilter returns the filters that work on lists, dicts and texts as sequences.
func sequenceFilter(name string) filter {
	switch name {
	case "length", "count":
		return func(_ *interp, v Value, _ args) Value { return int64(length(v)) }
	case "list":
		return func(_ *interp, v Value, _ args) Value { return &List{Items: iterate(v)} }
	case "first", "last", "random":
		return func(_ *interp, v Value, _ args) Value {
			items := iterate(v)
			if len(items) == 0 {
				return &Undefined{message: "No " + name + " item, sequence was empty."}
			}
			if name == "last" {
				return items[len(items)-1]
			}
			// A rendering must be repeatable: random is the first.
			return items[0]
		}
	case "join":
		return func(_ *interp, v Value, a args) Value {
			var parts []Text
			attr := a.get(1, "attribute", nil)
			for _, item := range iterate(v) {
				parts = append(parts, toText(path(item, attr)))
			}
			return joinTexts(toText(a.get(0, "d", Text{})), parts)
		}
	case "reverse":
		return func(_ *interp, v Value, _ args) Value {
			items := slices.Clone(iterate(v))
			slices.Reverse(items)
			if _, ok := v.(Text); ok {
				var b builder
				for _, c := range items {
					b.add(c.(Text))
				}
				return b.text()
			}
			return &List{Items: items}
		}
	case "items":
		return func(_ *interp, v Value, _ args) Value {
			switch v := v.(type) {
			case *Dict:
				return &List{Items: v.pairs()}
			case *Undefined:
				return &List{}
			}
			fail("TypeError", "Can only get item pairs from a mapping.")
			return nil
		}
	case "map":
		return mapFilter
	case "select", "reject", "selectattr", "rejectattr":
		return func(in *interp, v Value, a args) Value {
			return choose(in, v, a, strings.HasPrefix(name, "select"), strings.HasSuffix(name, "attr"))
		}
	case "sort":
		return func(_ *interp, v Value, a args) Value {
			items := slices.Clone(iterate(v))
			sortBy(items, a.get(2, "attribute", nil), a.flag(1, "case_sensitive", false), a.flag(0, "reverse", false))
			return &List{Items: items}
		}
	case "dictsort":
		return dictSort
	case "unique":
		return func(_ *interp, v Value, a args) Value {
			seen := map[string]bool{}
			out := &List{}
			for _, item := range iterate(v) {
				h := hash(folded(path(item, a.get(1, "attribute", nil)), a.flag(0, "case_sensitive", false)))
				if !seen[h] {
					seen[h] = true
					out.Items = append(out.Items, item)
				}
			}
			return out
		}
	case "groupby":
		return groupBy
	case "min", "max":
		return func(_ *interp, v Value, a args) Value {
			items := slices.Clone(iterate(v))
			if len(items) == 0 {
				return &Undefined{message: "No aggregated item, sequence was empty."}
			}
			sortBy(items, a.get(1, "attribute", nil), a.flag(0, "case_sensitive", false), name == "max")
			return items[0]
		}
	case "sum":
		return func(_ *interp, v Value, a args) Value {
			total := a.get(1, "start", int64(0))
			for _, item := range iterate(v) {
				total = arithmetic("+", total, path(item, a.get(0, "attribute", nil)))
			}
			return total
		}
	case "batch":
		return batch
	case "slice":
		return slices3
	}
	return nil
}

// path follows an attribute of filters: a name, a number or a dotted path; nil is the item itself.
func path(item, attr Value) Value {
	switch a := attr.(type) {
	case nil:
		return item
	case Text:
		for _, part := range strings.Split(a.S, ".") {
			if n, err := strconv.Atoi(part); err == nil {
				item = getItem(item, int64(n))
			} else {
				item = getItem(item, plain(part))
			}
		}
		return item
	}
	return getItem(item, attr)
}

func folded(v Value, caseSensitive bool) Value {
	if t, ok := v.(Text); ok && !caseSensitive {
		return t.mapped(strings.ToLower)
	}
	return v
}

func sortBy(items []Value, attr Value, caseSensitive, reverse bool) {
	var attrs []Value
	if t, ok := attr.(Text); ok {
		for _, p := range strings.Split(t.S, ",") {
			attrs = append(attrs, plain(p))
		}
	} else {
		attrs = []Value{attr}
	}
	sortStable(items, func(a, b Value) int {
		c := 0
		for i := 0; c == 0 && i < len(attrs); i++ {
			c = compare(folded(path(a, attrs[i]), caseSensitive), folded(path(b, attrs[i]), caseSensitive), "<")
		}
		if reverse {
			return -c
		}
		return c
	})
}

func mapFilter(in *interp, v Value, a args) Value {
	out := &List{}
	items := iterate(v)
	attr := a.get(-1, "attribute", nil)
	for _, item := range items {
		if len(a.pos) == 0 {
			if attr == nil {
				fail("FilterArgumentError", "map requires a filter argument")
			}
			got := path(item, attr)
			if _, missing := got.(*Undefined); missing {
				got = a.get(-1, "default", got)
			}
			out.Items = append(out.Items, got)
			continue
		}
		out.Items = append(out.Items, applyFilter(in, toText(a.pos[0]).S, item, args{pos: a.pos[1:], kw: a.kw}))
	}
	return out
}

// choose is select, reject, selectattr and rejectattr.
func choose(in *interp, v Value, a args, keep, byAttr bool) Value {
	var attr Value
	rest := a.pos
	if byAttr {
		if len(rest) == 0 {
			fail("FilterArgumentError", "Missing parameter for attribute name")
		}
		attr, rest = rest[0], rest[1:]
	}
	out := &List{}
	for _, item := range iterate(v) {
		got := path(item, attr)
		var ok bool
		if len(rest) == 0 {
			ok = truth(got)
		} else {
			ok = applyTest(in, toText(rest[0]).S, got, args{pos: rest[1:], kw: a.kw})
		}
		if ok == keep {
			out.Items = append(out.Items, item)
		}
	}
	return out
}

func dictSort(_ *interp, v Value, a args) Value {
	d, ok := v.(*Dict)
	if !ok {
		fail("TypeError", "dictsort needs a mapping, not %s", typeName(v))
	}
	by := Value(int64(0))
	switch s := toText(a.get(1, "by", plain("key"))).S; s {
	case "key":
	case "value":
		by = int64(1)
	default:
		fail("FilterArgumentError", `You can only sort by either "key" or "value"`)
	}
	pairs := d.pairs()
	sortBy(pairs, by, a.flag(0, "case_sensitive", false), a.flag(2, "reverse", false))
	return &List{Items: pairs}
}

func groupBy(_ *interp, v Value, a args) Value {
	attr := a.get(0, "attribute", nil)
	items := slices.Clone(iterate(v))
	key := func(item Value) Value {
		got := path(item, attr)
		if _, missing := got.(*Undefined); missing {
			got = a.get(1, "default", got)
		}
		return got
	}
	fold := a.flag(2, "case_sensitive", false)
	sortStable(items, func(x, y Value) int { return compare(folded(key(x), fold), folded(key(y), fold), "<") })
	out := &List{}
	for i := 0; i < len(items); {
		j := i
		for j < len(items) && equal(folded(key(items[i]), fold), folded(key(items[j]), fold)) {
			j++
		}
		out.Items = append(out.Items, &List{Items: []Value{key(items[i]), &List{Items: items[i:j]}}, tuple: true})
		i = j
	}
	return out
}

func batch(_ *interp, v Value, a args) Value {
	n := a.integer(0, "linecount", 0)
	if n < 1 {
		fail("ValueError", "batch needs a positive count")
	}
	out := &List{}
	for c := range slices.Chunk(iterate(v), n) {
		row := slices.Clone(c)
		for fill := a.get(1, "fill_with", nil); fill != nil && len(row) < n; {
			row = append(row, fill)
		}
		out.Items = append(out.Items, &List{Items: row})
	}
	return out
}

// slices3 is the filter `slice`: n columns of as equal length as possible.
func slices3(_ *interp, v Value, a args) Value {
	items, n := iterate(v), a.integer(0, "slices", 0)
	if n < 1 {
		fail("ValueError", "slice needs a positive count")
	}
	out := &List{}
	size, extra, pos := len(items)/n, len(items)%n, 0
	for i := range n {
		end := pos + size
		if i < extra {
			end++
		}
		col := slices.Clone(items[pos:end])
		if fill := a.get(1, "fill_with", nil); fill != nil && extra > 0 && i >= extra {
			col = append(col, fill)
		}
		out.Items = append(out.Items, &List{Items: col})
		pos = end
	}
	return out
}
