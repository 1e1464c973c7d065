package grammar

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// matches says whether a whole text is in a grammar.
func matches(s *states, text string) bool {
	at := s.first
	for i := range len(text) {
		at = s.step(at, text[i])
	}
	return at.end
}

// words calls yield with every text over an alphabet up to a length.
func words(alphabet []string, length int, yield func(string)) {
	var grow func(word string, left int)
	grow = func(word string, left int) {
		yield(word)
		if left > 0 {
			for _, letter := range alphabet {
				grow(word+letter, left-1)
			}
		}
	}
	grow("", length)
}

// TestRegexMatchesWhatTheLibraryMatches compares with Go's own matcher on all short texts.
func TestRegexMatchesWhatTheLibraryMatches(t *testing.T) {
	t.Parallel()
	alphabet := []string{"a", "B", "1", "é", "好", "\n"}
	for _, expr := range []string{``, `a`, `a*`, `a+1?`, `(a|B)*1`, `a{2,3}`, `(?:aB){0,2}`, `[^a]+`, `.`, `.*1`, `(?s).+`, `(?i)ab`, `(?i)É`, `\d+|é`, `\w\W`,
		`[a-z]{1,2}[é-好]`, `^a+$`, `^a|B$`, `(^(a)$)`, `(a*)*`, `(a?){3}`, `\pL+`, `[\x{4e00}-\x{9fff}]`, `(a|aB|aB1)1?`, `(?:a+|1+)+`, `a??B`} {
		g, err := Regex(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		s, want := newStates(g), regexp.MustCompile(`^(?:`+expr+`)\z`)
		n := 0
		words(alphabet, 5, func(word string) {
			if got := matches(s, word); got != want.MatchString(word) {
				t.Errorf("%s: %q is matched: %v", expr, word, got)
			}
			n++
		})
		if n < 5000 {
			t.Fatal("too few texts")
		}
	}
}

func TestRegexThatIsRefused(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		`a(`: "missing", `(?=a)`: "RE2", `\bfoo`: `\b`, `a^b`: "ends", `(a)\1`: "RE2", `[^\x00-\x{10FFFF}]`: "finite", `a(b$|c)d`: "ends",
		`((\pL{1000}){10}){1000}`: "large", `(\pL{100}){900}`: "large",
	} {
		if _, err := Regex(expr); err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "too large") && !strings.Contains(err.Error(), "repeat") {
			t.Errorf("%s: error %v, want one about %q", expr, err, want)
		}
	}
}

// TestUTF8Sequences goes through all characters for ranges with ends of every kind.
func TestUTF8Sequences(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	edges := []rune{0, 1, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF}
	pick := func() rune {
		if random.IntN(2) == 0 {
			return edges[random.IntN(len(edges))]
		}
		return rune(random.IntN(0x110000))
	}
	for range 30 {
		low, high := pick(), pick()
		if low > high {
			low, high = high, low
		}
		sequences := utf8Sequences(low, high)
		for r := rune(0); r <= 0x10FFFF; r += 1 + rune(random.IntN(40)) {
			if (r >= low && r <= high && utf8.ValidRune(r)) != inSequences(sequences, r) {
				t.Fatalf("%x of %x to %x", r, low, high)
			}
		}
		for _, r := range []rune{low, high, low - 1, high + 1} {
			if utf8.ValidRune(r) && (r >= low && r <= high) != inSequences(sequences, r) {
				t.Fatalf("%x of %x to %x", r, low, high)
			}
		}
	}
}

func inSequences(sequences [][]byteRange, r rune) bool {
	if !utf8.ValidRune(r) {
		return false
	}
	encoded := string(r)
	for _, sequence := range sequences {
		fits := len(sequence) == len(encoded)
		for i := 0; fits && i < len(encoded); i++ {
			fits = encoded[i] >= sequence[i].low && encoded[i] <= sequence[i].high
		}
		if fits {
			return true
		}
	}
	return false
}

// TestMaskIsWhatEachTokenGives compares the walk through the trie with every token by itself.
func TestMaskIsWhatEachTokenGives(t *testing.T) {
	t.Parallel()
	tokens := [][]byte{nil, {}, []byte("a"), []byte("ab"), []byte("abc"), []byte("b"), []byte("a"), []byte("好"), []byte("好a"), {0xe5}, {0xa5, 0xbd}, []byte("c好")}
	for b := range 256 {
		tokens = append(tokens, []byte{byte(b)}, []byte{'a', byte(b)})
	}
	v := NewVocabulary(tokens)
	g, err := Regex(`(ab?c?|好)*x{2}`)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	a := g.Over(v)
	for range 50 {
		m := a.Start()
		for range 12 {
			mask, end := m.Allowed()
			if end != m.at.end {
				t.Fatal("the end is told wrongly")
			}
			var next []int32
			for id, token := range tokens {
				at := m.at
				if at = a.follow(v, at, int32(id)); len(token) == 0 && at != dead {
					t.Fatal("an id without bytes leads on")
				}
				want := at != dead
				if got := mask[id/64]>>(id%64)&1 == 1; got != want {
					t.Fatalf("token %q is allowed: %v", token, got)
				}
				if want {
					next = append(next, int32(id))
				}
			}
			if m.Done() != (len(next) == 0) {
				t.Fatalf("done is told wrongly with %d tokens", len(next))
			}
			if m.Done() {
				break
			}
			m.Accept(next[random.IntN(len(next))])
		}
		m.Accept(0)
		if mask, end := m.Allowed(); mask != nil || end {
			t.Error("something is allowed behind a token that is not")
		}
	}
}

// TestForgettingChangesNothing follows a text with more places than an automaton keeps.
func TestForgettingChangesNothing(t *testing.T) {
	t.Parallel()
	g, err := Regex(`(ab|a){0,400}x`)
	if err != nil {
		t.Fatal(err)
	}
	v := NewVocabulary([][]byte{[]byte("a"), []byte("b"), []byte("ab"), []byte("x")})
	a := g.Over(v)
	one, other := a.Start(), a.Start()
	for i := range maxMasks + 100 {
		if tokens, end := one.Allowed(); end || i > 0 && tokens[0] != 0b1101|uint64((i+1)%2)<<1 {
			t.Fatalf("%b is allowed behind %d tokens", tokens, i)
		}
		one.Accept(int32(2 * ((i + 1) % 2))) // ab, a, ab, …
	}
	if tokens, _ := other.Allowed(); tokens[0] != 0b1101 {
		t.Errorf("%b is allowed at the beginning", tokens)
	}
	other.Accept(3)
	if !other.Done() {
		t.Error("nothing can follow x")
	}
}
