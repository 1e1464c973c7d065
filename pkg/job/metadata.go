package job

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Metadata are texts by name.
type Metadata map[string]string

// Bounds of metadata, which are those of OpenAI's API.
const (
	maxMetadata      = 16
	maxMetadataName  = 64  // characters
	maxMetadataValue = 512 // characters
)

// UnmarshalJSON refuses a null, which encoding/json would read as an empty text.
func (m *Metadata) UnmarshalJSON(data []byte) error {
	var texts map[string]*string
	if err := json.Unmarshal(data, &texts); err != nil {
		return err
	}
	*m = Metadata{}
	for name, text := range texts {
		if text == nil {
			return fmt.Errorf("%s is null: give a text", shorten(name))
		}
		(*m)[name] = *text
	}
	return nil
}

func (m Metadata) problems() (found []Problem) {
	if len(m) > maxMetadata {
		found = append(found, Problem{Field: "metadata", Found: fmt.Sprintf("%d pairs", len(m)), Reason: fmt.Sprintf("has more than %d", maxMetadata), Next: "keep the ones that you look for"})
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if n := len([]rune(name)); n == 0 || n > maxMetadataName {
			found = append(found, Problem{Field: "metadata", Found: shorten(name), Reason: fmt.Sprintf("has a name of %d characters", n), Next: fmt.Sprintf("use 1 to %d", maxMetadataName)})
		}
		if n := len([]rune(m[name])); n > maxMetadataValue {
			found = append(found, Problem{Field: "metadata." + shorten(name), Found: fmt.Sprintf("%d characters", n), Reason: "is too long", Next: fmt.Sprintf("use at most %d", maxMetadataValue)})
		}
	}
	return found
}
