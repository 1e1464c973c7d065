package lifecycle

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Field is one leaf of a configuration struct.
type Field struct {
	// Path holds the YAML keys from the top, such as bus, ack_wait.
	Path []string
	// Help is the field's help tag.
	Help string
	// Source says where the value came from: default, file, env or flag.
	Source string

	flag   string
	value  reflect.Value
	secret bool
}

// Key is the field's name in the YAML file, joined by dots.
func (f *Field) Key() string { return strings.Join(f.Path, ".") }

// Env is the name of the field's environment variable.
func (f *Field) Env() string { return "DESCANT_" + strings.ToUpper(strings.Join(f.Path, "_")) }

// Flag is the name of the field's flag without dashes; "" if it has none.
func (f *Field) Flag() string {
	switch {
	case f.flag == "-":
		return ""
	case f.flag != "":
		return f.flag
	}
	return strings.ReplaceAll(strings.Join(f.Path, "-"), "_", "-")
}

// Text returns the value for people; a secret is hidden.
func (f *Field) Text() string { return show(f.value) }

var (
	secretType    = reflect.TypeFor[Secret]()
	durationType  = reflect.TypeFor[time.Duration]()
	textType      = reflect.TypeFor[encoding.TextUnmarshaler]()
	textOutType   = reflect.TypeFor[encoding.TextMarshaler]()
	stringsOfType = reflect.TypeFor[[]string]()
)

// fields lists the leaves of a struct in their order.
func fields(v reflect.Value, path []string) ([]*Field, error) {
	var all []*Field
	for i := range v.NumField() {
		tag := v.Type().Field(i)
		if !tag.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(tag.Tag.Get("yaml"), ",")
		inline := tag.Anonymous && name == ""
		if name == "-" {
			continue
		}
		if name == "" && !inline {
			return nil, fmt.Errorf("field %s of %s has no yaml tag", tag.Name, v.Type())
		}
		at := path
		if !inline {
			at = append(append([]string(nil), path...), name)
		}
		value := v.Field(i)
		if value.Kind() == reflect.Struct && !value.Addr().Type().Implements(textType) {
			inner, err := fields(value, at)
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
			continue
		}
		if !settable(value) {
			return nil, fmt.Errorf("field %s of %s has type %s, which configuration does not know", tag.Name, v.Type(), value.Type())
		}
		all = append(all, &Field{
			Path: at, Help: tag.Tag.Get("help"), Source: "default",
			flag: tag.Tag.Get("flag"), value: value, secret: value.Type() == secretType,
		})
	}
	return all, nil
}

func settable(v reflect.Value) bool {
	if v.Addr().Type().Implements(textType) || v.Type() == stringsOfType {
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return false
}

// assign sets v from text; the parts of a list are separated by commas.
func assign(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 45s or 2h30m", text)
		}
		v.SetInt(int64(d))
		return nil
	case v.Type() == stringsOfType:
		v.Set(reflect.ValueOf(split(text)))
		return nil
	}
	return assignKind(v, text)
}

func assignKind(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		v.SetBool(b)
	case reflect.Float32, reflect.Float64:
		x, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(x)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number from 0 on", text)
		}
		v.SetUint(n)
	default:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	}
	return nil
}

func split(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func show(v reflect.Value) string {
	if v.Addr().Type().Implements(textOutType) {
		text, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
		if err == nil {
			return string(text)
		}
	}
	if v.Type() == stringsOfType {
		return strings.Join(v.Interface().([]string), ",")
	}
	return fmt.Sprint(v.Interface())
}
