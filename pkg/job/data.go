package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Data says how the rows of datasets are read and cut; it is a part of [Training].
type Data struct {
	TruncationMode string  `json:"truncation_mode" yaml:"truncation_mode" help:"rows longer than max_length: keep_start or keep_end (cut them), drop (leave them out) or error (refuse the dataset)"`
	DefaultSystem  string  `json:"default_system" yaml:"default_system" help:"system text for conversations that have none; empty leaves it to the chat template"`
	Columns        Columns `json:"columns" yaml:"columns" help:"columns of the file that stand for fields, such as instruction=question,output=answer"`
}

// Values of loss_on and truncation_mode.
const (
	LossOnLastTurn = "last_turn"

	KeepStart = "keep_start"
	KeepEnd   = "keep_end"
	Drop      = "drop"
	Refuse    = "error"
)

// rowFields are the fields of rows that a column may stand for.
var rowFields = []string{"messages", "tools", "system", "conversations", "conversation", "prompt", "completion", "instruction", "input", "output", "history", "text"}

// maxSystem bounds the default system text, which every row carries.
const maxSystem = 32 << 10

func (c *checker) data(d Data) {
	c.oneOf("truncation_mode", d.TruncationMode, KeepStart, KeepEnd, Drop, Refuse)
	if len(d.DefaultSystem) > maxSystem {
		c.add("default_system", fmt.Sprintf("%d bytes", len(d.DefaultSystem)), fmt.Sprintf("is longer than %d bytes", maxSystem), "shorten it")
	}
	seen := map[string]string{}
	for _, field := range slices.Sorted(maps.Keys(d.Columns)) {
		column := d.Columns[field]
		switch {
		case !slices.Contains(rowFields, field):
			c.add("columns", strconv.Quote(shorten(field)), "is not a field of a row", "use "+orList(rowFields)+"; the field comes first: instruction=question")
		case column == "":
			c.add("columns", field, "has no column", "write it as field=column")
		case seen[column] != "":
			c.add("columns", strconv.Quote(shorten(column)), fmt.Sprintf("stands for both %s and %s", seen[column], field), "name a column once")
		}
		seen[column] = field
	}
}

// Columns maps the fields of rows to the columns of a file that hold them. In JSON and YAML it is an object, in a flag
// field=column pairs separated by commas.
type Columns map[string]string

// String returns the pairs, sorted and separated by commas.
func (c Columns) String() string {
	var pairs []string
	for _, field := range slices.Sorted(maps.Keys(c)) {
		pairs = append(pairs, field+"="+c[field])
	}
	return strings.Join(pairs, ",")
}

// MarshalText writes the pairs.
func (c Columns) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads pairs separated by commas.
func (c *Columns) UnmarshalText(text []byte) error {
	*c = nil
	for pair := range strings.SplitSeq(string(text), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		field, column, ok := strings.Cut(pair, "=")
		field, column = strings.TrimSpace(field), strings.TrimSpace(column)
		if !ok || field == "" || column == "" {
			return fmt.Errorf("%q is not field=column", shorten(pair))
		}
		if _, twice := (*c)[field]; twice {
			return fmt.Errorf("the field %q is given twice", shorten(field))
		}
		if *c == nil {
			*c = Columns{}
		}
		(*c)[field] = column
	}
	return nil
}

// MarshalJSON writes an object, also when there is no pair.
func (c Columns) MarshalJSON() ([]byte, error) {
	if c == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]string(c))
}

// UnmarshalJSON reads an object; an empty one is nil.
func (c *Columns) UnmarshalJSON(data []byte) error {
	var read map[string]string
	if json.Unmarshal(data, &read) != nil || string(data) == "null" {
		return errors.New(`must be an object such as {"instruction": "question", "output": "answer"}`)
	}
	*c = nil
	if len(read) > 0 {
		*c = read
	}
	return nil
}
