package openai

import (
	"net/http"
	"time"

	"descant/pkg/job"
	"descant/pkg/lifecycle"
)

// Drained counts the requests that run, so that a stop can wait for them, and refuses new ones when the stop has begun.
func Drained(running *lifecycle.Drain, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !running.Enter() {
			w.Header().Set("Connection", "close") // the next try shall reach another server
			WriteError(w, job.RefusedError(job.CodeNotReady, "this server is about to end", "send the request again", time.Second))
			return
		}
		defer running.Leave()
		next(w, r)
	}
}
