package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestHandler reads the page and a module of it, each with the policy that lets it load nothing from elsewhere.
func TestHandler(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/": "text/html", "/assets/main.js": "javascript", "/assets/style.css": "text/css",
		"/assets/uplot/uPlot.iife.min.js": "javascript", "/assets/uplot/uPlot.min.css": "text/css"} {
		answer := httptest.NewRecorder()
		Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if kind := answer.Header().Get("Content-Type"); answer.Code != http.StatusOK || !strings.Contains(kind, want) {
			t.Errorf("%s: %d, %s", path, answer.Code, kind)
		}
		held := answer.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(held, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(held, "unsafe") {
			t.Errorf("%s: policy %q", path, held)
		}
	}
	answer := httptest.NewRecorder()
	Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/assets/none.js", http.NoBody))
	if answer.Code != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", answer.Code)
	}
}
