package gateway

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"descant/pkg/job"
)

// TestDocumentFields holds the document's request for a job against the request that there is: the same fields, each
// with the same words.
func TestDocumentFields(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData(Document)
	if err != nil {
		t.Fatal(err)
	}
	have := doc.Components.Schemas["JobRequest"].Value.Properties
	// What the API has names of its own for.
	for _, name := range []string{"training_file", "validation_file", "suffix", "integrations", "hyperparameters"} {
		if have[name] == nil {
			t.Errorf("openapi.yaml: JobRequest has no %s", name)
		}
		delete(have, name)
	}
	want := requestFields(reflect.TypeFor[job.Request]())
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if own := have[name]; own == nil || own.Value.Description != want[name] && !slices.Contains([]string{"model", "metadata", "method", "seed"}, name) {
			t.Errorf("openapi.yaml: JobRequest wants the field %s with description: %q", name, want[name])
		}
		delete(have, name)
	}
	for name := range have {
		t.Errorf("openapi.yaml: JobRequest has %s, which no request has", name)
	}
}

// requestFields are the names of a request's fields in JSON, each with what its help says.
func requestFields(of reflect.Type) map[string]string {
	all := map[string]string{}
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous {
			maps.Copy(all, requestFields(field.Type))
			continue
		}
		all[name] = field.Tag.Get("help")
	}
	return all
}
