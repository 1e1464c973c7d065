package openai

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	t.Parallel()
	all := []string{"a", "b", "c"}
	id := func(s string) string { return s }
	tests := map[string]struct {
		query string
		want  []string
		more  bool
		bad   string // param of the error
	}{
		"all":           {"", all, false, ""},
		"first":         {"limit=2", all[:2], true, ""},
		"rest":          {"limit=2&after=b", all[2:], false, ""},
		"nothing left":  {"after=c", nil, false, ""},
		"limit too low": {"limit=0", nil, false, "limit"},
		"unknown after": {"after=x", nil, false, "after"},
		"unknown name":  {"before=x", nil, false, "before"},
		"twice":         {"limit=1&limit=2", nil, false, "limit"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			query, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			page, err := ReadPage(query, 20, 100)
			var got List[string]
			if err == nil {
				got, err = Cut(all, page, id)
			}
			if tt.bad != "" {
				if err == nil || textOf(AsError(err).Param) != tt.bad {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || len(got.Data) != len(tt.want) || got.HasMore != tt.more || got.Data == nil || len(tt.want) > 0 && got.Data[0] != tt.want[0] {
				t.Errorf("page %+v, %v", got, err)
			}
		})
	}
}

func TestProtection(t *testing.T) {
	t.Parallel()
	keys, err := ParseKeys("# keys\nsk-all-0123456789ab\nsk-infer-0123456789 infer\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"short", "sk-0123456789abcdef root"} {
		if _, err := ParseKeys(bad); err == nil {
			t.Errorf("key %q is accepted", bad)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/train", keys.Require(func(http.ResponseWriter, *http.Request) {}, ScopeTrain))
	mux.HandleFunc("GET /v1/models", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("DELETE /v1/models/{model...}", func(http.ResponseWriter, *http.Request) {})
	tests := map[string]struct {
		handler       http.Handler
		method, url   string
		header, value string
		status        int
	}{
		"no key":         {mux, "POST", "http://localhost/v1/train", "", "", http.StatusUnauthorized},
		"wrong key":      {mux, "POST", "http://localhost/v1/train", "Authorization", "Bearer sk-all-0123456789ax", http.StatusUnauthorized},
		"other scope":    {mux, "POST", "http://localhost/v1/train", "Authorization", "Bearer sk-infer-0123456789", http.StatusForbidden},
		"key":            {mux, "POST", "http://localhost/v1/train", "Authorization", "bearer sk-all-0123456789ab", http.StatusOK},
		"another API":    {WithErrors(mux), "POST", "http://localhost/v1/uploads/u1/parts", "", "", http.StatusNotFound},
		"unknown path":   {WithErrors(mux), "GET", "http://localhost/v2", "", "", http.StatusNotFound},
		"unknown method": {WithErrors(mux), "GET", "http://localhost/v1/train", "", "", http.StatusMethodNotAllowed},
		"no redirect":    {WithErrors(mux), "DELETE", "http://localhost/v1/models", "", "", http.StatusMethodNotAllowed},
		"known path":     {WithErrors(mux), "POST", "http://localhost/v1/train", "Authorization", "Bearer sk-all-0123456789ab", http.StatusOK},
		"local":          {LocalOnly(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), "POST", "http://127.0.0.1:8000/", "", "", http.StatusOK},
		"local v6":       {LocalOnly(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), "POST", "http://[::1]:8000/", "", "", http.StatusOK},
		"rebound name":   {LocalOnly(mux), "POST", "http://evil.example:8000/", "", "", http.StatusForbidden},
		"foreign page":   {LocalOnly(mux), "POST", "http://127.0.0.1:8000/", "Origin", "https://evil.example", http.StatusForbidden},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.url, nil)
			if tt.header != "" {
				r.Header.Set(tt.header, tt.value)
			}
			w := httptest.NewRecorder()
			tt.handler.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if name == "another API" && !strings.Contains(w.Body.String(), "POST /v1/files") {
				t.Errorf("%s does not say what to use", w.Body)
			}
		})
	}
	for address, want := range map[string]bool{"127.0.0.1:0": true, "localhost:1": true, "[::1]:1": true, "0.0.0.0:1": false, ":1": false, "10.0.0.1:1": false, "example.org:1": false} {
		if Loopback(address) != want {
			t.Errorf("Loopback(%q) is not %v", address, want)
		}
	}
}
