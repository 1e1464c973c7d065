package systemtest_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// systemtestTokens is how long an answer is where the request does not say it.
const systemtestTokens = 8

// schemathesis holds the HTTP API against its document with every check and in every phase: what the document allows is
// taken, what it forbids is refused, and requests follow on each other's answers.
func schemathesis(t *testing.T, program, url string) {
	config, err := filepath.Abs("sdk/schemathesis.toml")
	if err != nil {
		t.Fatal(err)
	}
	hooks := filepath.Join(filepath.Dir(config), "rows.py")
	script(t, "env", "SCHEMATHESIS_HOOKS="+hooks, program, "--config-file", config, "run", documentHere(t, url), "--url", url, "--checks", "all", "--max-examples", "3", "--seed", "1",
		"--warnings", "off", "--request-timeout", "300", "--max-response-time", "300", "--suppress-health-check", "all", "--no-color", "--generation-database", "none")
}

// documentHere writes the document of an API with what no schema can say: which names there are here, and what one field
// means for another.
func documentHere(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url + "/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	doc, err := openapi3.NewLoader().LoadFromIoReader(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	of := func(schema, property string) *openapi3.Schema {
		return doc.Components.Schemas[schema].Value.Properties[property].Value
	}
	for _, request := range []string{"ChatRequest", "TextRequest"} {
		of(request, "model").Enum = []any{"builtin:tiny"}
		// How long an answer may be, the prompt decides; which expressions there are, no schema says.
		for _, name := range []string{"max_tokens", "max_completion_tokens", "min_tokens", "regex"} {
			delete(doc.Components.Schemas[request].Value.Properties, name)
		}
		of(request, "stop_token_ids").Items.Value.WithMax(3071) // the last of this model's tokens
		oneName(of(request, "logit_bias"), "0")                 // what the names of members may be, OpenAPI 3.0 cannot say
	}
	delete(of("ChatRequest", "messages").Items.Value.OneOf[2].Value.Properties, "tool_call_id") // of a call before it
	for _, prompt := range of("TextRequest", "prompt").OneOf {
		prompt.Value.MinLength = 1 // this model has no token that begins a text
		if prompt.Value.Items != nil {
			prompt.Value.MinLength, prompt.Value.Items.Value.MinLength = 0, 1
		}
	}
	for _, path := range doc.Paths.Map() {
		if path.Get == nil {
			continue
		}
		if model := path.Get.Parameters.GetByInAndName("query", "model"); model != nil {
			model.Schema.Value.Enum = []any{"builtin:tiny"}
		}
	}
	smallJobs(doc.Components.Schemas["JobRequest"].Value)
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// smallJobs leaves the fields that OpenAI's API has: which of the others go together, no schema says.
func smallJobs(request *openapi3.Schema) {
	kept := openapi3.Schemas{}
	for _, name := range []string{"model", "training_file", "validation_file", "suffix", "seed", "metadata", "integrations", "hyperparameters", "method"} {
		kept[name] = request.Properties[name]
	}
	request.Properties, request.AnyOf, request.Required = kept, nil, []string{"model", "training_file"}
	kept["training_file"].Value.Enum = []any{"builtin:sample"}
	kept["validation_file"].Value.Enum = []any{"builtin:sample", "", nil}
	oneName(kept["metadata"].Value, "team")
}

// oneName gives an object of any names the one member.
func oneName(object *openapi3.Schema, name string) {
	object.Properties = openapi3.Schemas{name: object.AdditionalProperties.Schema}
	none := false
	object.AdditionalProperties = openapi3.AdditionalProperties{Has: &none}
}
