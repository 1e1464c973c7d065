package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// CheckAPI returns the address of a proxy to an HTTP API that holds every answer against the document that the API has of
// itself: an answer of another status, type or shape fails the test.
func CheckAPI(t testing.TB, target string) string {
	t.Helper()
	doc, router := documented(t, target)
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1 // events go on as they come
	proxy.ModifyResponse = func(response *http.Response) error {
		checkAnswer(t, router, response)
		if schema := eventSchema(response); schema != "" {
			response.Body = &eventCheck{ReadCloser: response.Body, test: t, name: schema, schema: doc.Components.Schemas[schema].Value}
		}
		return nil
	}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = to.Host
		defer func() {
			// The proxy gives up a stream of a client that is gone by a panic, which the server would print.
			if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // the panic's own value
				panic(v)
			}
		}()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// documented reads the document of an API.
func documented(t testing.TB, target string) (*openapi3.T, routers.Router) {
	t.Helper()
	response, err := http.Get(target + "/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	doc.Servers = nil // any address
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// eventSchema names the schema of the events of an answer; "" if it is no stream.
func eventSchema(response *http.Response) string {
	path := response.Request.URL.Path
	switch {
	case !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream"):
		return ""
	case strings.HasSuffix(path, "/chat/completions"):
		return "ChatCompletionChunk"
	case strings.HasSuffix(path, "/completions"):
		return "TextCompletion"
	}
	return "FineTuningEvent"
}

// eventCheck holds the events of a stream against their schema while they pass.
type eventCheck struct {
	io.ReadCloser
	test   testing.TB
	name   string
	schema *openapi3.Schema
	line   []byte // the line that is not read to its end
}

// Read passes bytes on and checks every line that ends in them.
func (e *eventCheck) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	e.line = append(e.line, p[:n]...)
	for {
		line, rest, whole := bytes.Cut(e.line, []byte("\n"))
		if !whole {
			return n, err
		}
		e.line = rest
		data, isData := bytes.CutPrefix(line, []byte("data: "))
		if !isData || string(data) == "[DONE]" {
			continue
		}
		var value any
		if wrong := json.Unmarshal(data, &value); wrong != nil {
			e.test.Errorf("event %s: %v", data, wrong)
		} else if wrong := e.schema.VisitJSON(value); wrong != nil {
			e.test.Errorf("event %s is no %s: %v", data, e.name, wrong)
		}
	}
}

// checkAnswer reads an answer, unless it is a stream, and puts it back.
func checkAnswer(t testing.TB, router routers.Router, response *http.Response) {
	if response.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s: the answer has no X-Request-Id", response.Request.Method, response.Request.URL.Path)
	}
	route, params, err := router.FindRoute(response.Request)
	if err != nil {
		return // schemathesis asks for methods that are not there
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: response.Request, PathParams: params, Route: route},
		Status:                 response.StatusCode, Header: response.Header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		input.Options.ExcludeResponseBody = true
		if status := route.Operation.Responses.Status(response.StatusCode); status == nil || status.Value.Content.Get(kind) == nil {
			t.Errorf("%s %s: an answer of type %q is not in the document", response.Request.Method, response.Request.URL.Path, kind)
		}
	} else {
		data, err := io.ReadAll(response.Body)
		response.Body = io.NopCloser(bytes.NewReader(data))
		if err != nil {
			return // the client is gone
		}
		input.SetBodyBytes(data)
	}
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		t.Errorf("%s %s: %v", response.Request.Method, response.Request.URL.Path, err)
	}
}
