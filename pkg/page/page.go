// Package page is the web page of the gateway: files that run as they are, in any browser of the last years, on the HTTP API
// of the same address. Each room is a module in assets that exports show(place, argument), with one line in main.js and its
// words, in English and Chinese, in words.js.
package page

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed assets
var files embed.FS

// policy lets the page load nothing but its own files and ask nobody but its own address.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the page at / and its files under /assets/.
func Handler() http.Handler {
	assets, err := fs.Sub(files, "assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux := http.NewServeMux()
	server := http.FileServerFS(assets)
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", server))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, assets, "index.html") })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		// The files have no version in their names: the browser asks each time.
		h.Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}
