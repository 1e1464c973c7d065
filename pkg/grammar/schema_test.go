package grammar

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// person is a schema as Pydantic writes them.
const person = `{"$defs":{"Pet":{"properties":{"kind":{"enum":["cat","dog"],"title":"Kind","type":"string"},"friend":{"anyOf":[{"$ref":"#/$defs/Pet"},{"type":"null"}],"default":null}},
	"required":["kind"],"title":"Pet","type":"object"}},"properties":{"name":{"title":"Name","type":"string","minLength":1,"maxLength":8},"age":{"minimum":0,"maximum":120,"type":"integer"},
	"pets":{"items":{"$ref":"#/$defs/Pet"},"maxItems":3,"type":"array"}},"required":["name","pets"],"title":"Person","type":"object"}`

// schemaCases have texts that are in the grammar and texts that are not.
var schemaCases = map[string]struct{ good, bad []string }{
	`{}`:   {[]string{`1`, `"x"`, `{"a":[1,{}]}`, `[]`, `null`, `-0.5e+3`}, []string{``, `{`, `01`, `"\x"`, ` 1`, `1 `, `"\ud800"`, "\"\n\"", `[1,]`, `{"a"}`}},
	`true`: {[]string{`[[[["a"]]]]`}, []string{`[`}},
	person: {[]string{`{"name":"é好","pets":[]}`, `{"name": "a", "age": 120, "pets": [{"kind":"cat"}, {"kind":"dog","friend":{"kind":"cat","friend":null}}]}`, "{\n  \"name\": \"a\",\n  \"pets\": []\n}"},
		[]string{`{"pets":[]}`, `{"name":"","pets":[]}`, `{"name":"123456789","pets":[]}`, `{"name":"a","age":121,"pets":[]}`, `{"name":"a","pets":[],"x":1}`, `{"pets":[],"name":"a"}`,
			`{"name":"a","pets":[{"kind":"cow"}]}`, `{"name":"a","pets":[{"kind":"cat"},{"kind":"cat"},{"kind":"cat"},{"kind":"cat"}]}`, `{"name":"a","pets":[],}`, `{,"name":"a","pets":[]}`}},
	`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"boolean"},"c":{"const":null}}}`: {
		[]string{`{}`, `{"a":1}`, `{"b":true}`, `{"a":-5, "c":null}`, `{"b":false,"c":null}`}, []string{`{"b":true,"a":1}`, `{"a":1,"a":1}`, `{"a":1.5}`, `{"a":1 "b":true}`}},
	`{"type":"object","properties":{"ab":{"type":"string"},"a":{"type":"string"}},"additionalProperties":{"type":"integer"},"required":["ab"]}`: {
		[]string{`{"ab":"x"}`, `{"ab":"x","a":"y","b":1,"abc":2,"":3}`, `{"ab":"x","好":1}`}, []string{`{"ab":"x","ab":1}`, `{"ab":"x","a":1}`, `{"b":1}`, `{"ab":"x","\u0061b":1}`}},
	`{"type":"object","required":["x"],"additionalProperties":{"type":"null"}}`: {[]string{`{"x":null}`, `{"x":null,"y":null}`}, []string{`{}`, `{"y":null}`, `{"x":null,"x":null}`}},
	`{"type":"object"}`:                                       {[]string{`{}`, `{"a":{"b":[1]},"c":2}`}, []string{`[]`}},
	`{"type":"object","properties":{}}`:                       {[]string{`{}`, `{ }`}, []string{`{"a":1}`}},
	`{"enum":["a\"\\\u00e9\n",1.50,null,{"b":1,"a":[true]}]}`: {[]string{`"a\"\\é\n"`, `1.50`, `null`, `{"b":1,"a":[true]}`}, []string{`1.5`, `{"a":[true],"b":1}`, `"a"`}},
	`{"enum":["a",1],"type":"string"}`:                        {[]string{`"a"`}, []string{`1`}},
	`{"type":["string","null"],"maxLength":2}`:                {[]string{`""`, `"ab"`, `"\n\u00e9"`, `null`}, []string{`"abc"`, `1`}},
	`{"anyOf":[{"type":"integer","minimum":-12,"exclusiveMaximum":305},{"type":"string","pattern":"^[A-Z]{2}$"}]}`: {
		[]string{`-12`, `-9`, `0`, `7`, `99`, `304`, `"AB"`}, []string{`-13`, `305`, `1000`, `-0`, `"ABC"`, `"A"`, `007`}},
	`{"type":"integer","minimum":1.5,"maximum":2.5}`:                                                        {[]string{`2`}, []string{`1`, `3`}},
	`{"type":"string","pattern":"^a.\"|^\\\\$"}`:                                                            {[]string{`"ab\"\ny"`, `"a\\\""`, `"\\"`, `"a好\"好"`}, []string{`"a\""`, `"\\x"`, `"xab\""`}},
	`{"type":"string","pattern":"[a-y][0-4]"}`:                                                              {[]string{`"\na0\\"`, `"xxb4"`}, []string{`"a"`, `"z0"`, `""`}},
	`{"type":"number","minimum":0,"maximum":1}`:                                                             {[]string{`0`, `1`, `0.25`, `1.0`, `0.999`}, []string{`1.1`, `-0.1`, `2`, `1e-1`, `.5`, `0.`}},
	`{"type":"number","exclusiveMinimum":-2.5}`:                                                             {[]string{`-2.4999`, `0`, `999999999999999.9`, `-1`}, []string{`-2.5`, `-2.50`, `-3`}},
	`{"type":"number","exclusiveMaximum":0}`:                                                                {[]string{`-0.1`, `-7`, `-0.001`}, []string{`0`, `-0`, `-0.0`, `1`}},
	`{"type":"array","items":{"type":"boolean"},"minItems":2}`:                                              {[]string{`[true,false]`, `[true, true, true,false]`}, []string{`[]`, `[true]`, `[true,1]`}},
	`{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false}`:                   {[]string{`[]`, `[1]`, `[1,"a"]`}, []string{`["a"]`, `[1,"a",2]`}},
	`{"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":2,"maxItems":3}`: {[]string{`[1,null]`, `[1,null,null]`}, []string{`[1]`, `[1,null,null,null]`, `[null,null]`}},
	`{"type":"string","format":"date-time"}`:                                                                {[]string{`"2024-12-31T23:59:59Z"`, `"2024-02-28T00:00:00.123+05:30"`}, []string{`"2024-02-30T00:00:00Z"`, `"2024-13-01T00:00:00Z"`, `"2024-01-01"`}},
	`{"type":"string","format":"date"}`:                                                                     {[]string{`"1999-04-30"`}, []string{`"1999-04-31"`}},
	`{"type":"string","format":"uuid"}`:                                                                     {[]string{`"123e4567-e89b-12d3-a456-426614174000"`}, []string{`"123e4567"`}},
	`{"type":"string","format":"ipv4"}`:                                                                     {[]string{`"192.168.0.255"`}, []string{`"192.168.0.256"`}},
	`{"allOf":[{"type":"number"}]}`:                                                                         {[]string{`-1.5`, `1e10`}, []string{`"1"`}},
	`{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"array","items":{"$ref":"#"}}}}`:                         {[]string{`[]`, `[[],[[]]]`}, []string{`[1]`}},
}

func TestSchemaTexts(t *testing.T) {
	t.Parallel()
	for schema, c := range schemaCases {
		g, err := JSONSchema(schema)
		if err != nil {
			t.Errorf("%s: %v", schema, err)
			continue
		}
		s := newStates(g)
		for _, text := range c.good {
			if !matches(s, text) {
				t.Errorf("%s: %s is refused", schema, text)
			}
		}
		for _, text := range c.bad {
			if matches(s, text) {
				t.Errorf("%s: %s is allowed", schema, text)
			}
		}
	}
}

// validator is the library's judgement of a schema's values.
func validator(t *testing.T, schema string) func(text string) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	return func(text string) error {
		if !utf8.ValidString(text) {
			return errors.New("is not UTF-8")
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return compiled.Validate(value)
	}
}

// walk writes a random text of a grammar, mostly a short one.
func walk(random *rand.Rand, s *states) string {
	var text []byte
	for at := s.first; ; {
		var next, closing []byte
		for b := range 256 {
			if s.step(at, byte(b)) != dead {
				next = append(next, byte(b))
				if b == '"' || b == '}' || b == ']' {
					closing = append(closing, byte(b))
				}
			}
		}
		if len(closing) > 0 && random.IntN(100) < min(60, 30+len(text)) {
			next = closing
		}
		if at.end && (len(next) == 0 || random.IntN(3) == 0) {
			return string(text)
		}
		if len(next) == 0 {
			return string(text) + " and then nothing"
		}
		b := next[random.IntN(len(next))]
		text, at = append(text, b), s.step(at, b)
	}
}

// TestRandomTextsAreValid has an independent library judge what random walks write.
func TestRandomTextsAreValid(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	lengths := map[int]bool{}
	for schema := range schemaCases {
		g, err := JSONSchema(schema)
		if err != nil {
			t.Fatal(err)
		}
		s, validate := newStates(g), validator(t, schema)
		for range 200 {
			text := walk(random, s)
			if err := validate(text); err != nil {
				t.Fatalf("%s: %s: %v", schema, text, err)
			}
			lengths[len(text)] = true
		}
	}
	if len(lengths) < 50 {
		t.Errorf("texts of %d lengths only", len(lengths))
	}
}

// TestIntegerBounds tries all numbers around random bounds.
func TestIntegerBounds(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 10))
	for range 60 {
		low := random.IntN(4000) - 2000
		high := low + random.IntN(1500)
		g, err := JSONSchema(fmt.Sprintf(`{"type":"integer","minimum":%d,"maximum":%d}`, low, high))
		if err != nil {
			t.Fatal(err)
		}
		s := newStates(g)
		for n := -2100; n < 3700; n++ {
			if got := matches(s, strconv.Itoa(n)); got != (n >= low && n <= high) {
				t.Fatalf("%d of %d to %d is allowed: %v", n, low, high, got)
			}
		}
	}
}

// TestNumberBounds compares with exact arithmetic, on numbers at and around random bounds.
func TestNumberBounds(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(11, 12))
	draw := func() string {
		text := strconv.Itoa(random.IntN(30))
		if random.IntN(3) > 0 {
			text += "." + strconv.Itoa(random.IntN(200))
		}
		if random.IntN(2) == 0 && strings.Trim(text, "0.") != "" {
			text = "-" + text
		}
		return text
	}
	exact := func(text string) *big.Rat {
		x, _ := new(big.Rat).SetString(text)
		return x
	}
	var near []string
	for _, whole := range []string{"0", "1", "2", "9", "10", "12", "29", "30", "123456789012345"} {
		for _, tail := range []string{"", ".0", ".00", ".1", ".05", ".10", ".100", ".1000001", ".9", ".99", ".123456789012345", ".000000000000001", ".5", ".19"} {
			near = append(near, whole+tail, "-"+whole+tail)
		}
	}
	inside, usable := 0, 0
	for range 300 {
		low, high := draw(), draw()
		lowWord, highWord := []string{"minimum", "exclusiveMinimum"}[random.IntN(2)], []string{"maximum", "exclusiveMaximum"}[random.IntN(2)]
		schema := fmt.Sprintf(`{"type":"number",%q:%s,%q:%s}`, lowWord, low, highWord, high)
		within := func(text string) bool {
			below, above := exact(text).Cmp(exact(low)), exact(text).Cmp(exact(high))
			return (below > 0 || below == 0 && lowWord == "minimum") && (above < 0 || above == 0 && highWord == "maximum")
		}
		g, err := JSONSchema(schema)
		if err != nil {
			if c := exact(low).Cmp(exact(high)); c < 0 || c == 0 && lowWord == "minimum" && highWord == "maximum" {
				t.Errorf("%s: %v", schema, err)
			}
			continue
		}
		s := newStates(g)
		usable++
		for _, text := range append([]string{low, high, low + "1", high + "1"}, near...) {
			digits := strings.TrimPrefix(text, "-")
			if leading := len(digits) > 1 && digits[0] == '0' && digits[1] != '.'; leading || digits != text && exact(text).Sign() == 0 {
				continue // no JSON, or a zero that need not be written
			}
			if got := matches(s, text); got != within(text) {
				t.Fatalf("%s: %s is allowed: %v", schema, text, got)
			} else if got {
				inside++
			}
		}
		for range 5 {
			if text := walk(random, s); !within(text) {
				t.Fatalf("%s: %s is written", schema, text)
			}
		}
	}
	if inside < 1000 || usable < 100 {
		t.Errorf("%d numbers inside the bounds of %d schemas: the test shows little", inside, usable)
	}
}

// TestNestingIsBounded goes down as far as it can: the way back must be open everywhere.
func TestNestingIsBounded(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{`{}`, `{"type":"object","properties":{"a":{"$ref":"#"}}}`, `{"type":"array","items":{"$ref":"#"},"minItems":0,"maxItems":2}`} {
		g, err := JSONSchema(schema)
		if err != nil {
			t.Fatal(err)
		}
		s := newStates(g)
		at, depth := s.first, 0
		for ; depth < 1000; depth++ {
			next := at
			for _, b := range []byte(`{"a":`) {
				next = s.step(next, b)
			}
			if next == dead {
				if next = s.step(at, '['); next == dead {
					break
				}
			}
			at = next
		}
		if depth < 40 || depth > maxDepth+1 {
			t.Errorf("%s: nests %d deep", schema, depth)
		}
		random := rand.New(rand.NewPCG(1, 1))
		s.first = at
		walk(random, s) // ends
	}
}

func TestSchemaProblemsAreAllTold(t *testing.T) {
	t.Parallel()
	_, err := JSONSchema(`{"type":"object","properties":{"a":{"type":"string","minimum":1},"b":{"oneOf":[{}]},"c":{"type":"number","minimum":1e5},"d":{"type":"strin"},
		"e":{"type":"string","format":"email"},"f":{"$ref":"other.json"},"g":{"$ref":"#/nowhere"},"h":{"type":"string","pattern":"(?=x)"},"i":{"type":"array","uniqueItems":true,"maxItems":-1},
		"j":{"enum":[]},"k":{"type":"string","pattern":"a","maxLength":3},"l":{"allOf":[{},{}]},"m":false,"n":{"type":"integer","minimum":5,"maximum":4},"o":{"enum":[1],"type":"string"},
		"p":{"anyOf":[{"not":{}}],"minLength":1},"q":{"type":"integer","maximum":1e9},"r":{"type":"array","minItems":3,"maxItems":2}},
		"required":["z"],"additionalProperties":false,"patternProperties":{}}`)
	var wrong *SchemaError
	if !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, p := range wrong.Problems {
		got[p.Field] = true
		if p.Reason == "" || p.Next == "" {
			t.Errorf("%+v does not say enough", p)
		}
	}
	for _, want := range []string{"patternProperties", "required[0]", "properties.a.minimum", "properties.b.oneOf", "properties.c.minimum", "properties.d.type", "properties.e.format",
		"properties.f.$ref", "properties.g.$ref", "properties.h.pattern", "properties.i.uniqueItems", "properties.i.maxItems", "properties.j.enum", "properties.k.maxLength", "properties.l.allOf",
		"properties.m", "properties.n", "properties.o.enum", "properties.p.anyOf[0].not", "properties.p.minLength", "properties.q.maximum", "properties.r.minItems"} {
		if !got[want] {
			t.Errorf("nothing is told of %s", want)
		}
	}
	if len(got) != 22 {
		t.Errorf("%d places: %v", len(got), err)
	}
	for schema, want := range map[string]string{
		`[1`: "JSON", `{} {}`: "more", `{"type":"object","type":"array"}`: "twice", `3`: "no schema",
		`{"$ref":"#"}`: "finite", `{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`: "finite",
		`{"type":"array","items":{"type":"array","items":{"type":"string","maxLength":16384},"maxItems":16384},"minItems":16384,"maxItems":16385}`: "bound",
		`{"type":"object","properties":{` + strings.TrimSuffix(strings.Repeat(`"a%d":{"type":"string","maxLength":16384},`, 20), ",") + `}}`:       "twice",
	} {
		if _, err := JSONSchema(schema); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: error %v, want one about %q", schema, err, want)
		}
	}
	var large strings.Builder
	for i := range 40 {
		fmt.Fprintf(&large, `"p%d":{"type":"string","maxLength":16000},`, i)
	}
	if _, err := JSONSchema(`{"properties":{` + large.String() + `"z":{}}}`); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("error %v", err)
	}
}

// TestAmbiguityIsBounded has a schema that can be read in twice as many ways with each bracket.
func TestAmbiguityIsBounded(t *testing.T) {
	t.Parallel()
	g, err := JSONSchema(`{"anyOf":[{"type":"array","items":{"$ref":"#"}},{"type":"array","items":{"$ref":"#"}},{"type":"null"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	s := newStates(g)
	at := s.first
	for range 100 {
		at = s.step(at, '[')
	}
	if at != dead {
		t.Error("100 open brackets are 2^100 ways to read them")
	}
	if !matches(s, `[[null,[]],null]`) {
		t.Error("few brackets must be possible")
	}
}
