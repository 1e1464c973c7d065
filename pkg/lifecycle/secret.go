package lifecycle

import (
	"fmt"
	"log/slog"
)

// hidden stands for a secret wherever one would be shown.
const hidden = "(hidden)"

// Secret is a text that shows itself to nobody: fmt, slog, JSON and YAML all
// get "(hidden)", or nothing if it is empty. Reveal gives the text to the one
// place that needs it.
type Secret struct{ text string }

// NewSecret wraps a text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text itself.
func (s Secret) Reveal() string { return s.text }

// Empty tells whether there is no secret.
func (s Secret) Empty() bool { return s.text == "" }

// String returns "(hidden)", or "" for an empty secret.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return hidden
}

// Format answers every verb, also %#v and %x, which would look inside.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret from configuration. It refuses the sign that stands for a hidden one: a
// printed configuration that is read back would otherwise log in with it.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == hidden {
		return fmt.Errorf("%s stands for a secret that is not shown: remove it, or give the secret by its _file key", hidden)
	}
	s.text = string(text)
	return nil
}
