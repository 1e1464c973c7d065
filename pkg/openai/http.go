package openai

import (
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
)

// RequestIDHeader names the request in the answer and in the log.
const RequestIDHeader = "X-Request-Id"

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// WithRequestID gives every answer an id: the one that the caller sent, or a new one.
func WithRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(RequestIDHeader)
		if !requestIDPattern.MatchString(id) {
			id = "req_" + randomID()
		}
		w.Header().Set(RequestIDHeader, id)
		next.ServeHTTP(w, r)
	})
}

// WithErrors answers in the API's form what the mux answers in plain text: unknown paths and methods.
func WithErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if known(mux, r) {
			mux.ServeHTTP(w, r)
			return
		}
		allowed := methods(mux, r)
		if len(allowed) == 0 {
			WriteError(w, unknownURL(r.URL.Path))
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		WriteError(w, newError(http.StatusMethodNotAllowed, TypeInvalidRequest, "", CodeMethodNotAllowed,
			r.Method+" is not a method of "+r.URL.Path+"; use "+strings.Join(allowed, " or ")))
	})
}

// known tells whether the mux has a handler for a request. For /v1/models it would answer with a redirect to the pattern
// /v1/models/{model...}, which is another thing.
func known(mux *http.ServeMux, r *http.Request) bool {
	_, pattern := mux.Handler(r)
	before, rest := strings.CutSuffix(pattern, "...}")
	if rest {
		_, path, _ := strings.Cut(before[:strings.LastIndexByte(before, '{')], " ")
		return strings.HasPrefix(r.URL.Path, path)
	}
	return pattern != ""
}

// methods lists the methods with which the mux knows the path of a request.
func methods(mux *http.ServeMux, r *http.Request) (allowed []string) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if known(mux, other) {
			allowed = append(allowed, method)
		}
	}
	return allowed
}

// LocalOnly protects a server without API keys from pages of other sites in a browser of this machine: it refuses
// requests that such a page makes, and names of hosts that somebody else's DNS points at a loopback address.
func LocalOnly(next http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local(r.Host) {
			WriteError(w, newError(http.StatusForbidden, TypePermission, "", CodeHostNotAllowed,
				"host "+r.Host+" is not this machine: without API keys use 127.0.0.1 or localhost, or set gateway.api_keys"))
			return
		}
		if err := foreign.Check(r); err != nil {
			WriteError(w, newError(http.StatusForbidden, TypePermission, "", CodeOriginNotAllowed,
				"pages of other sites may not use this server: "+err.Error()))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Loopback tells whether only this machine can reach an address (host:port).
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && local(host)
}

func local(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
