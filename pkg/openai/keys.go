package openai

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Scopes of API keys.
const (
	ScopeInfer = "infer" // models and completions
	ScopeTrain = "train" // files and fine-tuning jobs
	ScopeAdmin = "admin" // what changes what others see: loading, unloading and deleting adapters
)

// Keys are the API keys that a server accepts; none means that everybody may do everything.
type Keys struct{ keys []apiKey }

type apiKey struct {
	digest [sha256.Size]byte
	scopes []string
}

const shortestKey = 16

// ParseKeys reads one key a line; scopes after it limit what it is for, all without. Empty lines and lines that begin
// with # do not count.
//
//	sk-9f2c6e0d41b7a835
//	sk-0b5d8fa27c1e4693 infer
//	sk-77aa10c3e5d94b28 infer train
func ParseKeys(text string) (Keys, error) {
	var all Keys
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words[0]) < shortestKey {
			return Keys{}, fmt.Errorf("line %d: a key needs at least %d characters", i+1, shortestKey)
		}
		key := apiKey{digest: sha256.Sum256([]byte(words[0])), scopes: words[1:]}
		for _, scope := range key.scopes {
			if scope != ScopeInfer && scope != ScopeTrain && scope != ScopeAdmin {
				return Keys{}, fmt.Errorf("line %d: there is no scope %q; use %s, %s or %s after the key", i+1, scope, ScopeInfer, ScopeTrain, ScopeAdmin)
			}
		}
		if len(key.scopes) == 0 {
			key.scopes = []string{ScopeInfer, ScopeTrain, ScopeAdmin}
		}
		all.keys = append(all.keys, key)
	}
	return all, nil
}

// Empty tells whether there are no keys.
func (k Keys) Empty() bool { return len(k.keys) == 0 }

// Require lets only requests through whose key has one of the scopes.
func (k Keys) Require(next http.HandlerFunc, scopes ...string) http.HandlerFunc {
	if k.Empty() {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			WriteError(w, newError(http.StatusUnauthorized, TypeAuthentication, "", CodeInvalidAPIKey, "no API key is given: send Authorization: Bearer KEY"))
			return
		}
		given := sha256.Sum256([]byte(strings.TrimSpace(token)))
		var found *apiKey
		for i := range k.keys { // all of them, so that the time tells nothing
			if subtle.ConstantTimeCompare(given[:], k.keys[i].digest[:]) == 1 {
				found = &k.keys[i]
			}
		}
		if found == nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			WriteError(w, newError(http.StatusUnauthorized, TypeAuthentication, "", CodeInvalidAPIKey, "this API key is not known here: ask the operator for one"))
			return
		}
		for _, scope := range scopes {
			if slices.Contains(found.scopes, scope) {
				next(w, r)
				return
			}
		}
		WriteError(w, newError(http.StatusForbidden, TypePermission, "", CodeMissingScope, "this API key is not for this: it needs the scope "+strings.Join(scopes, " or ")))
	}
}
