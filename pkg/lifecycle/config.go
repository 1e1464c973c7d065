package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"
)

// Loader fills a configuration struct from file, environment and flags.
type Loader struct {
	fields []*Field
	byKey  map[string]*Field
	flags  []flagValue
}

// NewLoader looks through cfg, a pointer to a struct that holds the defaults.
// Fields are structs, texts, numbers, truth values, durations, lists of texts,
// [Secret] and whatever reads itself from text; each has a yaml and a help tag,
// and a flag tag if its flag has another name ("-": none).
func NewLoader(cfg any) (*Loader, error) {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("configuration %T is not a pointer to a struct", cfg)
	}
	all, err := fields(v.Elem(), nil)
	if err != nil {
		return nil, err
	}
	l := &Loader{fields: all, byKey: map[string]*Field{}}
	for _, f := range all {
		if l.byKey[f.Key()] != nil {
			return nil, fmt.Errorf("configuration has two fields %s", f.Key())
		}
		l.byKey[f.Key()] = f
	}
	return l, nil
}

// Fields lists the fields in their order.
func (l *Loader) Fields() []*Field { return l.fields }

// Load sets the fields from a YAML file ("" for none), from the environment
// (as os.Environ gives it) and from the flags that were given. It returns every
// problem at once, each with its place.
func (l *Loader) Load(file string, environ []string) error {
	var errs []error
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("configuration file: %w", err))
		} else {
			errs = append(errs, l.loadYAML(file, data)...)
		}
	}
	errs = append(errs, l.loadEnv(environ)...)
	for _, f := range l.flags {
		if f.given {
			errs = append(errs, l.set(f.field, "flag", "--"+f.name, f.text, f.isFile))
		}
	}
	return errors.Join(errs...)
}

func (l *Loader) loadYAML(name string, data []byte) []error {
	all, err := settings(name, data)
	if err != nil {
		return []error{err}
	}
	var errs []error
	seen := map[string]int{}
	for _, s := range all {
		place := fmt.Sprintf("%s:%d", name, s.line)
		if first := seen[s.key]; first > 0 {
			errs = append(errs, fmt.Errorf("%s: %s is set twice, first in line %d", place, s.key, first))
			continue
		}
		seen[s.key] = s.line
		f, isFile := l.lookup(s.key)
		if f == nil {
			errs = append(errs, fmt.Errorf("%s: unknown key %s%s", place, s.key, l.suggest(s.key, (*Field).Key)))
			continue
		}
		errs = append(errs, l.set(f, "file", place+": "+s.key, s.text, isFile))
	}
	return errs
}

// lookup finds the field of a key; isFile if the key names a file that holds
// the secret.
func (l *Loader) lookup(key string) (f *Field, isFile bool) {
	if f := l.byKey[key]; f != nil {
		return f, false
	}
	if base, ok := strings.CutSuffix(key, "_file"); ok {
		if f := l.byKey[base]; f != nil && f.secret {
			return f, true
		}
	}
	return nil, false
}

// loadEnv takes DESCANT_* variables. An unknown one is an error if it begins
// like a section of the configuration; others (DESCANT_CACHE) mean something
// elsewhere.
func (l *Loader) loadEnv(environ []string) []error {
	byEnv, sections := map[string]*Field{}, map[string]bool{}
	for _, f := range l.fields {
		byEnv[f.Env()] = f
		if len(f.Path) > 1 {
			sections["DESCANT_"+strings.ToUpper(f.Path[0])+"_"] = true
		}
	}
	var errs []error
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "DESCANT_") {
			continue
		}
		f, isFile := byEnv[name], false
		if base, ok := strings.CutSuffix(name, "_FILE"); f == nil && ok && byEnv[base] != nil && byEnv[base].secret {
			f, isFile = byEnv[base], true
		}
		if f != nil {
			errs = append(errs, l.set(f, "env", name, text, isFile))
			continue
		}
		for section := range sections {
			if strings.HasPrefix(name, section) {
				errs = append(errs, fmt.Errorf("unknown environment variable %s%s", name, l.suggest(name, (*Field).Env)))
			}
		}
	}
	return errs
}

// set gives a field its text, or the content of the file that text names.
func (l *Loader) set(f *Field, source, place, text string, isFile bool) error {
	if isFile {
		data, err := os.ReadFile(text)
		if err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		text = strings.TrimRight(string(data), "\r\n")
	}
	if err := assign(f.value, text); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	f.Source = source
	return nil
}

// suggest names the field that a misspelt name most resembles.
func (l *Loader) suggest(name string, of func(*Field) string) string {
	best, least := "", len(name)/3+1
	for _, f := range l.fields {
		if d := distance(name, of(f)); d < least {
			best, least = of(f), d
		}
	}
	if best == "" {
		return "; `descant config` lists all that there are"
	}
	return "; did you mean " + best + "?"
}

// distance counts the letters to insert, drop or change between two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Print writes the effective configuration as YAML, with where each value came
// from. Secrets are hidden; Load takes the rest back as it is.
func (l *Loader) Print(w io.Writer) error {
	var last []string
	for _, f := range l.fields {
		shared := 0
		for shared < len(f.Path)-1 && shared < len(last)-1 && f.Path[shared] == last[shared] {
			shared++
		}
		for depth := shared; depth < len(f.Path)-1; depth++ {
			if _, err := fmt.Fprintf(w, "%s%s:\n", strings.Repeat("  ", depth), f.Path[depth]); err != nil {
				return err
			}
		}
		text, err := yaml.Marshal(f.yamlValue())
		if err != nil {
			return fmt.Errorf("print %s: %w", f.Key(), err)
		}
		_, err = fmt.Fprintf(w, "%s%s: %s  # %s\n", strings.Repeat("  ", len(f.Path)-1), f.Path[len(f.Path)-1], strings.TrimRight(string(text), "\n"), f.Source)
		if err != nil {
			return err
		}
		last = f.Path
	}
	return nil
}

func (f *Field) yamlValue() any {
	switch f.value.Kind() {
	case reflect.Bool, reflect.Float32, reflect.Float64:
		return f.value.Interface()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if f.value.Type() != durationType && !f.value.Addr().Type().Implements(textType) {
			return f.value.Interface()
		}
	}
	return f.Text()
}

// BindFlags adds a flag for every field; call it before the flags are parsed
// and Load after.
func (l *Loader) BindFlags(set *pflag.FlagSet) {
	l.flags = make([]flagValue, 0, len(l.fields))
	for _, f := range l.fields {
		name := f.Flag()
		if name == "" {
			continue
		}
		l.flags = append(l.flags, flagValue{field: f, name: name, help: f.Help})
		if f.secret {
			// A secret in a flag shows in the list of processes.
			v := &l.flags[len(l.flags)-1]
			v.name, v.isFile, v.help = name+"-file", true, "file that holds: "+f.Help
		}
	}
	for i := range l.flags {
		v := &l.flags[i]
		set.Var(v, v.name, v.help)
		if v.Type() == "bool" {
			set.Lookup(v.name).NoOptDefVal = "true"
		}
	}
}

// flagValue keeps the text of a flag until Load.
type flagValue struct {
	field      *Field
	name, help string
	text       string
	given      bool
	isFile     bool
}

// String returns the field's value before the flags: the default in the help.
func (v *flagValue) String() string {
	if v.field == nil || v.isFile {
		return v.text
	}
	if v.given {
		return v.text
	}
	return v.field.Text()
}

// Set checks the text and keeps it.
func (v *flagValue) Set(text string) error {
	if !v.isFile {
		if err := assign(reflect.New(v.field.value.Type()).Elem(), text); err != nil {
			return err
		}
	}
	v.text, v.given = text, true
	return nil
}

// Type names the kind of value in the help.
func (v *flagValue) Type() string {
	if v.isFile {
		return "file"
	}
	t := v.field.value.Type()
	switch {
	case t == durationType:
		return "duration"
	case t.Kind() == reflect.Slice:
		return "list"
	case reflect.PointerTo(t).Implements(textType):
		return "text"
	}
	return t.Kind().String()
}
