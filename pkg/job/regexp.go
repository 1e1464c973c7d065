package job

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// PythonRegexp compiles a regular expression that PEFT's users write for Python's re, to be matched against whole
// module names. The names are ASCII without line ends, and whether a whole name matches does not depend on how an
// engine searches, so the two agree on everything that both know. What only one knows, or reads another way, is
// refused: an adapter must name the same modules here and in PEFT.
func PythonRegexp(pattern string) (*regexp.Regexp, error) {
	if err := pythonOnly(pattern); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	var bad *syntax.Error
	if errors.As(err, &bad) {
		return nil, fmt.Errorf("%s in %q is not a regular expression that can be used here (no look-around, no back-references, "+
			"no possessive or atomic groups)", bad.Code, bad.Expr)
	}
	return re, err
}

// Letters that may follow a backslash in both languages with one meaning, outside and inside of a set.
const (
	escapes    = "AbBdDsSwWafnrtvx"
	setEscapes = "dDsSwWafnrtvx"
)

// pythonOnly refuses what Go's regexp would accept with another meaning than Python's, or what Python refuses.
func pythonOnly(pattern string) error {
	inSet := false
	for i := 0; i < len(pattern); i++ {
		rest := pattern[i:]
		switch c := pattern[i]; {
		case c == '\\':
			if err := checkEscape(rest, inSet); err != nil {
				return err
			}
			i++
		case inSet:
			if c == ']' {
				inSet = false
			} else if strings.HasPrefix(rest, "[:") {
				return errors.New(`"[:" names a class in Go and characters in Python: list the characters`)
			}
		case c == '[':
			inSet = true
			// A bracket that comes first belongs to the set.
			i += len(firstOf(rest[1:], "^]", "]", "^"))
		case strings.HasPrefix(rest, "{,"):
			return errors.New(`"{,n}" is a count in Python only: write {0,n}`)
		case strings.HasPrefix(rest, "(?"):
			if err := checkGroup(rest, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func firstOf(text string, prefixes ...string) string {
	for _, p := range prefixes {
		if strings.HasPrefix(text, p) {
			return p
		}
	}
	return ""
}

// checkEscape looks at a backslash and what follows it.
func checkEscape(text string, inSet bool) error {
	if len(text) < 2 {
		return errors.New("a backslash stands at the end")
	}
	c, allowed := text[1], escapes
	if inSet {
		allowed = setEscapes
	}
	switch {
	case c >= '0' && c <= '9':
		return fmt.Errorf(`"\%c" is a back-reference or an octal number, which cannot be used here`, c)
	case c == 'Z':
		return errors.New(`"\Z" is Python's alone: leave it out, as the whole name is matched anyway`)
	case c == 'x' && (len(text) < 4 || !strings.ContainsRune("0123456789abcdefABCDEF", rune(text[2]))):
		return errors.New(`"\x" needs two hexadecimal digits`)
	case (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') && !strings.ContainsRune(allowed, rune(c)):
		return fmt.Errorf(`"\%c" does not mean the same here and in Python's re`, c)
	}
	return nil
}

// checkGroup looks at the opening of a group with a question mark, which stands at an offset of the pattern.
func checkGroup(text string, at int) error {
	for _, known := range []string{"(?:", "(?P<", "(?i:", "(?s:", "(?m:", "(?-i:", "(?-s:", "(?-m:"} {
		if strings.HasPrefix(text, known) {
			return nil
		}
	}
	if strings.HasPrefix(text, "(?i)") && at == 0 {
		return nil
	}
	opening := text[:min(len(text), 4)]
	return fmt.Errorf("the group %q cannot be used here: no look-around, conditions, comments, flags but (?i) at the beginning "+
		"or (?<name>, for which both languages have (?P<name>", opening)
}
