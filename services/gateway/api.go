package gateway

import (
	"context"
	_ "embed" // for the description of the API
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"syscall"
	"time"

	"descant/pkg/lifecycle"
	"descant/pkg/openai"
	"descant/pkg/page"
)

// serveAPI serves the HTTP API until ctx ends. It holds no behaviour of its own: every request is one of the operations
// that the micro services and subjects have, in OpenAI's dialect.
func (g *Gateway) serveAPI(ctx context.Context) error {
	if g.cfg.Addr == AddrOff {
		close(g.listening)
		return nil
	}
	err := lifecycle.ServeDraining(ctx, g.cfg.Addr, g.apiHandler(), &g.answers, func(at string) {
		g.address = at
		close(g.listening)
		g.log.Info("HTTP API", "url", "http://"+at+"/v1")
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another program: choose another address with --gateway-addr (127.0.0.1:0 takes a free port, off serves no HTTP API)", g.cfg.Addr)
	}
	if err != nil {
		return fmt.Errorf("HTTP API on %s: %w", g.cfg.Addr, err)
	}
	return nil
}

// Listening is closed when the HTTP API takes requests.
func (g *Gateway) Listening() <-chan struct{} { return g.listening }

// URL is where the HTTP API is, without /v1; empty if there is none. It is known when Listening is closed.
func (g *Gateway) URL() string {
	if g.address == "" {
		return ""
	}
	return "http://" + g.address
}

// apiHandler is the whole HTTP API with its protection.
func (g *Gateway) apiHandler() http.Handler {
	handler := openai.WithErrors(g.apiRoutes())
	if g.keys.Empty() {
		handler = openai.LocalOnly(handler)
	}
	return openai.WithRequestID(g.logged(handler))
}

// Document describes the HTTP API as OpenAPI does.
//
//go:embed openapi.yaml
var Document []byte

// apiRoutes are the paths of the HTTP API, each with the scopes of which a key needs one.
func (g *Gateway) apiRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(Document) // the client may be gone
	})
	mux.Handle("GET /{$}", page.Handler())
	mux.Handle("GET /assets/", page.Handler())
	route := func(pattern string, handle http.HandlerFunc, scopes ...string) {
		mux.HandleFunc(pattern, g.keys.Require(handle, scopes...))
	}
	route("POST /v1/chat/completions", openai.Drained(&g.answers, openai.ChatCompletions(g.router.Ask, g.log)), openai.ScopeInfer)
	route("POST /v1/completions", openai.Drained(&g.answers, openai.Completions(g.router.Ask, g.log)), openai.ScopeInfer)
	route("GET /v1/models", g.getModels, openai.ScopeInfer, openai.ScopeTrain)
	route("GET /v1/models/{model...}", g.getModel, openai.ScopeInfer, openai.ScopeTrain)
	route("DELETE /v1/models/{model...}", g.deleteModel, openai.ScopeAdmin)
	route("POST /v1/files", g.createFile, openai.ScopeTrain)
	route("GET /v1/files", g.listFiles, openai.ScopeTrain)
	route("GET /v1/files/{file}", g.getFile, openai.ScopeTrain)
	route("DELETE /v1/files/{file}", g.deleteFile, openai.ScopeTrain)
	route("GET /v1/files/{file}/content", g.fileContent, openai.ScopeTrain)

	route("POST /v1/fine_tuning/jobs", g.createJob, openai.ScopeTrain)
	route("GET /v1/fine_tuning/jobs", g.listJobs, openai.ScopeTrain)
	route("GET /v1/fine_tuning/jobs/{job}", g.getJob, openai.ScopeTrain)
	for _, action := range []string{"cancel", "pause", "resume"} {
		route("POST /v1/fine_tuning/jobs/{job}/"+action, g.controlJob(action), openai.ScopeTrain)
	}
	route("GET /v1/fine_tuning/jobs/{job}/events", g.jobEvents, openai.ScopeTrain)
	route("GET /v1/fine_tuning/jobs/{job}/checkpoints", g.jobCheckpoints, openai.ScopeTrain)

	route("GET /v1/descant/files/{file}/preview", g.filePreview, openai.ScopeTrain)
	route("GET /v1/descant/files/{file}/survey", g.fileSurvey, openai.ScopeTrain)
	route("GET /v1/descant/adapters", g.getAdapters, openai.ScopeInfer, openai.ScopeTrain)
	route("GET /v1/descant/adapters/{adapter}", g.getAdapter, openai.ScopeInfer, openai.ScopeTrain)
	route("GET /v1/descant/adapters/{adapter}/files/{file}", g.adapterFile, openai.ScopeInfer, openai.ScopeTrain)
	route("POST /v1/descant/adapters/{adapter}/promote", g.promoteAdapter, openai.ScopeAdmin)
	route("POST /v1/descant/adapters/{adapter}/rollback", g.rollbackAdapter, openai.ScopeAdmin)
	route("POST /v1/descant/adapters/{adapter}/pin", pinOf(g.pinAdapter), openai.ScopeAdmin)
	route("POST /v1/descant/adapters/{adapter}/unpin", pinOf(g.unpinAdapter), openai.ScopeAdmin)
	route("GET /v1/descant/workers", g.getWorkers, openai.ScopeInfer, openai.ScopeTrain)

	route("POST /v1/load_lora_adapter", g.loadLoRA, openai.ScopeAdmin)
	route("POST /v1/unload_lora_adapter", g.unloadLoRA, openai.ScopeAdmin)
	return mux
}

// logged writes a line for every request.
func (g *Gateway) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, seen := time.Now(), &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			level := slog.LevelDebug
			if seen.status >= http.StatusInternalServerError {
				level = slog.LevelError
			}
			g.log.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", seen.status,
				"duration", time.Since(began).Round(time.Millisecond), "request_id", w.Header().Get(openai.RequestIDHeader))
		}()
		next.ServeHTTP(seen, r)
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader keeps the status.
func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the writer below.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
