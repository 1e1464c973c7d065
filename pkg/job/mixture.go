package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Mixture is several datasets that are trained together. In JSON it is a list of names or of {"name", "weight"}, in a flag
// name=weight pairs separated by commas.
type Mixture []MixturePart

// MixturePart is one dataset of a mixture.
type MixturePart struct {
	// Name is a dataset as Request.Dataset names it.
	Name string `json:"name"`
	// Weight is how often each of its rows is trained in an epoch: 2 is twice, 0.5 half of the rows, chosen by the seed.
	Weight float64 `json:"weight"`
}

const (
	maxParts  = 100
	maxWeight = 1000
)

// problems returns what is wrong with the mixture.
func (m Mixture) problems() (list []Problem) {
	if len(m) > maxParts {
		return []Problem{{Field: "datasets", Found: fmt.Sprintf("%d datasets", len(m)), Reason: fmt.Sprintf("are more than %d", maxParts), Next: "put several into one file"}}
	}
	seen := map[string]bool{}
	for i, part := range m {
		field := fmt.Sprintf("datasets[%d]", i+1)
		switch {
		case strings.TrimSpace(part.Name) == "":
			list = append(list, Problem{Field: field, Reason: "has no name", Next: "give the name of a pushed dataset, its sha256: digest, s3://key or builtin:sample"})
		case seen[part.Name]:
			list = append(list, Problem{Field: field, Found: strconv.Quote(shorten(part.Name)), Reason: "is there twice", Next: "name it once, with the sum of the weights"})
		case !(part.Weight > 0 && part.Weight <= maxWeight):
			list = append(list, Problem{Field: field + ".weight", Found: formatFloat(part.Weight), Reason: "is out of range", Next: fmt.Sprintf("use a number above 0 and at most %d", maxWeight)})
		}
		seen[part.Name] = true
	}
	return list
}

// String returns the parts separated by commas.
func (m Mixture) String() string {
	parts := make([]string, len(m))
	for i, part := range m {
		parts[i] = part.Name + "=" + formatFloat(part.Weight)
	}
	return strings.Join(parts, ",")
}

// MarshalText writes the parts.
func (m Mixture) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads parts separated by commas; a part without a weight has the weight 1.
func (m *Mixture) UnmarshalText(text []byte) error {
	*m = nil
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		part := MixturePart{Name: item, Weight: 1}
		if at := strings.LastIndexByte(item, '='); at >= 0 {
			weight, err := strconv.ParseFloat(item[at+1:], 64)
			if err != nil {
				return fmt.Errorf("the weight of %q is not a number", shorten(item))
			}
			part = MixturePart{Name: item[:at], Weight: weight}
		}
		*m = append(*m, part)
	}
	return nil
}

// MarshalJSON writes a list of objects.
func (m Mixture) MarshalJSON() ([]byte, error) { return json.Marshal([]MixturePart(m)) }

// UnmarshalJSON reads a list of names and of objects, strictly.
func (m *Mixture) UnmarshalJSON(data []byte) error {
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil || list == nil {
		return errors.New(`must be a list such as [{"name": "rows", "weight": 2}, "more-rows"]`)
	}
	*m = nil
	for i, item := range list {
		part := MixturePart{Weight: 1}
		if json.Unmarshal(item, &part.Name) != nil {
			if _, problems := DecodeStrict(item, &part); len(problems) > 0 {
				return fmt.Errorf("item %d: %s", i+1, problems[0])
			}
		}
		*m = append(*m, part)
	}
	return nil
}
