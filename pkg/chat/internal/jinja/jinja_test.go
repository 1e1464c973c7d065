package jinja

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// render renders a template with the JSON values of vars, each from the source of its place.
func render(t testing.TB, source string, vars ...string) (Text, error) {
	t.Helper()
	tmpl, err := Parse(source)
	if err != nil {
		return Text{}, err
	}
	tmpl.maxSteps = 10000
	d := NewDict()
	for i, v := range vars {
		value, err := FromJSON([]byte(v), i)
		if err != nil {
			t.Fatal(err)
		}
		d.SetString(string(rune('a'+i)), value)
	}
	return tmpl.Render(d, time.Date(2024, 12, 30, 23, 5, 9, 120000, time.UTC))
}

// marked writes the bytes from outside the template in brackets.
func marked(text Text) string {
	out := []byte{}
	for i := 0; i <= len(text.S); i++ {
		for _, m := range text.Marks {
			if m.End == i && m.Start < i && m.Source >= 0 {
				out = append(out, ']')
			}
		}
		for _, m := range text.Marks {
			if m.Start == i && m.Source >= 0 {
				out = append(out, '[')
				if m.End == i {
					out = append(out, ']')
				}
			}
		}
		if i < len(text.S) {
			out = append(out, text.S[i])
		}
	}
	return string(out)
}

func TestMarksFollowTheText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, value, want string }{
		{"<{{ a }}>", `"x"`, "<[x]>"},
		{"<{{ a }}>", `""`, "<[]>"},
		{"<{{ a | trim }}>", `"  x "`, "<[x]>"},
		{"<{{ a | trim }}>", `"  "`, "<[]>"},
		{"{{ a.split('b') | join('-') }}", `"1b2b3"`, "[1]-[2]-[3]"},
		{"{{ a.replace('b', 'X') }}", `"1b2"`, "[1]X[2]"},
		{"{{ ('<' + a + '>') | upper }}", `"ß"`, "<[ß]>"},
		{"{{ '%s/%s' % (a, 'b') }}", `"x"`, "[x]/b"},
		{"{{ '{}/{}'.format('b', a) }}", `"x"`, "b/[x]"},
		{"{{ a | tojson }}", `{"k": "v\n"}`, `{"[k]": "[v\n]"}`},
		{"{{ a }}", `["v"]`, `['[v]']`},
		{"{{ a[1:3] ~ a[0] ~ a[::-1] }}", `"xyz"`, "[yz][x][z][y][x]"},
		{"{% set y %}<{{ a }}>{% endset %}{{ y }}{{ y | length }}", `"x"`, "<[x]>3"},
		{"{% macro m(v) %}<{{ v }}>{% endmacro %}{{ m(a) }}{{ m('t') }}", `"x"`, "<[x]><t>"},
		{"{% for c in a %}{{ c }}.{% endfor %}", `"é中"`, "[é].[中]."},
		{"{{ a | indent(2) }}", `"x\ny"`, "[x]\n  [y]"},
		{"{{ a | title }} {{ a.title() }}", `"ab cd"`, "[A][b][ ][C][d] [Ab Cd]"},
		{"{{ a | truncate(5, true, '..') }}", `"123456789012"`, "[123].."},
		{"{{ a | e }}", `"<"`, "[&lt;]"},
	} {
		got, err := render(t, c.source, c.value)
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		if marked(got) != c.want {
			t.Errorf("%s with %s: %s, want %s", c.source, c.value, marked(got), c.want)
		}
	}
}

func TestPythonSemantics(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, want string }{
		{"{{ 7 // -2 }} {{ 7 % -2 }} {{ 2 ** 70 }} {{ 2 ** -1 }} {{ 1e16 }} {{ 1.5e-5 }} {{ 10 ** 15 * 1.0 }}", "-4 -1 1180591620717411303424 0.5 1e+16 1.5e-05 1000000000000000.0"},
		{"{{ 'a' is in 'abc' }} {{ x is defined }} {{ x is not defined and true }}", "True False True"},
		{"{{ [1, 2, 3][-1] }} {{ 'abc'[5] is undefined }} {{ {'items': 1}.items() | list }} {{ {'items': 1}['items'] }}", "3 True [('items', 1)] 1"},
		{"{{ 'a b  c'.split() }} {{ 'a b c'.rsplit(none, 1) }} {{ 'a,b'.partition(',') }}", "['a', 'b', 'c'] ['a b', 'c'] ('a', ',', 'b')"},
		{"{{ '%5.1f|%-3d|%+d|%%' % (2.25, 7, 3) }} {{ '{:>4}|{:,}|{!r}'.format('x', 12345, 'y') }}", "  2.2|7  |+3|% " + "   x|12,345|'y'"},
		{"{{ strftime_now('%d.%m.%Y %H:%M:%S %j %U %W %V %-d %f') }}", "30.12.2024 23:05:09 365 52 53 01 30 000120"},
		{"{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% else %}none{% endfor %}", "13"},
		{"{% set n = namespace(v=1) %}{% for x in range(3) %}{% set n.v = n.v * 2 %}{% endfor %}{{ n.v }}", "8"},
		{"  {% if true %}\n  x\n  {% endif %}\ny\n\n", "  x\ny\n"},
		{"{{ '<b>' | safe + '<' }} {{ '<b>' | safe ~ '<' }}", "<b>&lt; <b><"},
		{"{{ 1 if false }}|{{ (1 if false) is undefined }}", "|True"},
		{"{{ 'abcde' | batch(2) | map('join') | join('|') }} {{ [3, 1] | sort | first }} {{ {'b': 1, 'a': 2} | dictsort }}", "ab|cd|e 1 [('a', 2), ('b', 1)]"},
	} {
		got, err := render(t, c.source)
		if err != nil || got.S != c.want {
			t.Errorf("%s: %q, %v, want %q", c.source, got.S, err, c.want)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("(", 100000)
	for source, kind := range map[string]string{
		"{{ x.y }}": "UndefinedError", "{{ 'a' + x }}": "UndefinedError", "{{ x() }}": "UndefinedError", "{{ x | tojson }}": "TypeError",
		"{{ 'a' + 1 }}": "TypeError", "{{ 1 < 'a' }}": "TypeError", "{{ 1 in 'a' }}": "TypeError", "{{ 1 / 0 }}": "ZeroDivisionError",
		"{{ ''.__class__.x }}": "SecurityError", "{{ [].append(1) }}": "SecurityError", "{{ {}.update({}) }}": "SecurityError",
		"{{ raise_exception('no') }}": "TemplateError", "{{ 1 | nope }}": "TemplateAssertionError", "{{ 1 is nope }}": "TemplateAssertionError",
		"{% if %}{% endif %}": "TemplateSyntaxError", "{{ 1": "TemplateSyntaxError", "{{ 'a }}": "TemplateSyntaxError", "{# x": "TemplateSyntaxError",
		"{% for x in [] %}": "TemplateSyntaxError", "{% endfor %}": "TemplateSyntaxError", "{% break %}": "TemplateSyntaxError", "{{ (1] }}": "TemplateSyntaxError",
		"{{ " + deep: "TemplateSyntaxError", "{{ " + strings.Repeat("not ", 100000): "TemplateSyntaxError",
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}":                                                 "RecursionError",
		"{% set n = namespace() %}{% set n.x = [n] %}{{ n }}":                                             "RecursionError",
		"{% for a in range(100000) %}{% for b in range(100000) %}{% set c = 1 %}{% endfor %}{% endfor %}": "RuntimeError",
		"{{ range(1000000) }}": "OverflowError", "{{ 'x' * 1000000000 }}": "MemoryError", "{{ 2 ** 99999999 }}": "OverflowError",
	} {
		_, err := render(t, source)
		var e *Error
		if !errors.As(err, &e) || e.Type != kind {
			t.Errorf("%.60s: error %v, want %s", source, err, kind)
		}
	}
}

func TestGenerationBlocksAreMarked(t *testing.T) {
	t.Parallel()
	got, err := render(t, "{% macro m() %}{% generation %}{{ a }}!{% endgeneration %}{% endmacro %}é{{ m() }}{% generation %}{% endgeneration %}", `"x"`)
	if err != nil {
		t.Fatal(err)
	}
	var spans []Mark
	for _, m := range got.Marks {
		if m.Source == SourceGeneration {
			spans = append(spans, m)
		}
	}
	if got.S != "éx!" || len(spans) != 2 || spans[0] != (Mark{2, 4, SourceGeneration}) || spans[1] != (Mark{4, 4, SourceGeneration}) {
		t.Errorf("%q with %v", got.S, spans)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{% for m in a %}{{ m.role | upper }}{% endfor %}", "{{ a[0].content[::2] }}", "{%- set x = a | map(attribute='role') | join -%}{{ x }}", "{{ '%s' % a }}{# c -#}\n"} {
		f.Add(s, "text")
	}
	f.Fuzz(func(t *testing.T, source, content string) {
		tmpl, err := Parse(source)
		if err != nil {
			return
		}
		msg := NewDict()
		msg.SetString("role", Plain("user"))
		msg.SetString("content", Foreign(content, 0))
		d := NewDict()
		d.SetString("a", &List{Items: []Value{msg}})
		// What matters is that it neither hangs nor panics, and that marks lie inside the text.
		text, err := tmpl.Render(d, time.Time{})
		for _, m := range text.Marks {
			if m.Start < 0 || m.Start > m.End || m.End > len(text.S) {
				t.Errorf("mark %v of %d bytes (%v)", m, len(text.S), err)
			}
		}
	})
}
