// Package hubtest is a server that speaks the endpoints of the Hugging Face hub that downloads use, for
// tests and for trying things out without a network:
//
//	GET  /api/models/{repo}/revision/{rev}   commit and file names
//	HEAD /{repo}/resolve/{rev}/{file}        X-Repo-Commit, X-Linked-Etag, X-Linked-Size, ETag
//	GET  /{repo}/resolve/{rev}/{file}        small files; large ones by redirect to /cdn/{sha256}, with Range
//
// It can break connections, damage bytes and refuse access as the hub does. It also makes checkpoints with
// random weights, up to the full shape of Qwen2.5-0.5B.
package hubtest

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git names small files by sha1
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Repo is one repository that the server offers.
type Repo struct {
	Dir       string   // folder whose files it has
	Revisions []string // branches and tags; all stand for the one commit. Defaults to main
	Gated     bool     // access only with the server's token
	Private   bool     // as if it did not exist, without the token
	// Large is the size in bytes from which a file is kept by sha256 behind a redirect. Defaults to 1 MiB.
	Large int64
}

// Server is an http.Handler. Its fields are set before it serves; the methods may be called at any time.
type Server struct {
	Repos map[string]Repo
	Token string // the token that opens gated and private repositories
	// CDN is the URL that large files are redirected to. Defaults to the server itself.
	CDN string

	mu      sync.Mutex
	breaks  map[string]*fault
	damage  map[string]int
	objects map[string]*object // by path of the file
	log     []string
	leaked  bool
}

type fault struct {
	after int64 // bytes of each answer that arrive
	times int
}

type object struct {
	path string
	size int64
	etag string
	mod  time.Time
}

// BreakAfter lets the next `times` answers that carry the file end after n bytes with a broken connection.
func (s *Server) BreakAfter(file string, n int64, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.breaks == nil {
		s.breaks = map[string]*fault{}
	}
	s.breaks[file] = &fault{after: n, times: times}
}

// Damage flips a bit of the next `times` answers that carry the file.
func (s *Server) Damage(file string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damage == nil {
		s.damage = map[string]int{}
	}
	s.damage[file] = times
}

// Requests returns "METHOD path range" of all requests so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// TokenLeaked tells whether the token was sent to the CDN.
func (s *Server) TokenLeaked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaked
}

// Commit is the commit that every revision of a repository stands for.
func Commit(repo string) string {
	sum := sha1.Sum([]byte(repo)) //nolint:gosec // a made-up commit id
	return hex.EncodeToString(sum[:])
}

// ServeHTTP answers as the hub does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.log = append(s.log, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	s.mu.Unlock()
	if rest, ok := strings.CutPrefix(r.URL.Path, "/cdn/"); ok {
		s.serveCDN(w, r, rest)
		return
	}
	if s.serveScope(w, r) {
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/models/"); ok {
		if repo, rev, ok := strings.Cut(rest, "/revision/"); ok {
			s.serveListing(w, r, repo, rev)
			return
		}
	} else if repo, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/resolve/"); ok {
		if rev, file, ok := strings.Cut(rest, "/"); ok {
			s.serveFile(w, r, repo, rev, file)
			return
		}
	}
	refuse(w, http.StatusNotFound, "")
}

func refuse(w http.ResponseWriter, status int, code string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q}`, code)
}

// admit finds a repository and refuses what the hub would refuse.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, name, rev string) (Repo, bool) {
	repo, ok := s.Repos[name]
	authorised := s.Token != "" && r.Header.Get("Authorization") == "Bearer "+s.Token
	revisions := append([]string{Commit(name)}, repo.Revisions...)
	if len(repo.Revisions) == 0 {
		revisions = append(revisions, "main")
	}
	switch {
	case !ok || repo.Private && !authorised:
		refuse(w, http.StatusUnauthorized, "RepoNotFound")
	case repo.Gated && !authorised && r.Header.Get("Authorization") == "":
		refuse(w, http.StatusUnauthorized, "GatedRepo")
	case repo.Gated && !authorised:
		refuse(w, http.StatusForbidden, "GatedRepo")
	case !slices.Contains(revisions, rev):
		refuse(w, http.StatusNotFound, "RevisionNotFound")
	default:
		return repo, true
	}
	return Repo{}, false
}

func (s *Server) serveListing(w http.ResponseWriter, r *http.Request, name, rev string) {
	repo, ok := s.admit(w, r, name, rev)
	if !ok {
		return
	}
	entries, err := os.ReadDir(repo.Dir)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	siblings := []map[string]string{}
	for _, e := range entries {
		siblings = append(siblings, map[string]string{"rfilename": e.Name()})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // a client that went away is not our problem
		"id": name, "sha": Commit(name), "siblings": siblings, "gated": repo.Gated, "private": repo.Private,
	})
}

func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, name, rev, file string) {
	repo, ok := s.admit(w, r, name, rev)
	if !ok {
		return
	}
	if file != filepath.Base(file) {
		refuse(w, http.StatusNotFound, "EntryNotFound")
		return
	}
	large := repo.Large
	if large == 0 {
		large = 1 << 20
	}
	o, err := s.object(filepath.Join(repo.Dir, file), large)
	if err != nil {
		refuse(w, http.StatusNotFound, "EntryNotFound")
		return
	}
	w.Header().Set("X-Repo-Commit", Commit(name))
	if o.size < large {
		w.Header().Set("ETag", `"`+o.etag+`"`)
		s.serveBody(w, r, o)
		return
	}
	w.Header().Set("X-Linked-Etag", `"`+o.etag+`"`)
	w.Header().Set("X-Linked-Size", fmt.Sprint(o.size))
	w.Header().Set("ETag", `"of-the-redirect"`)
	cdn := s.CDN
	if cdn == "" {
		cdn = "http://" + r.Host // absolute, as on the hub: clients take a relative one for a renamed repository
	}
	w.Header().Set("Location", strings.TrimRight(cdn, "/")+"/cdn/"+o.etag)
	w.WriteHeader(http.StatusFound)
}

func (s *Server) serveCDN(w http.ResponseWriter, r *http.Request, etag string) {
	s.mu.Lock()
	var found *object
	for _, o := range s.objects {
		if o.etag == etag {
			found = o
		}
	}
	if s.CDN != "" && (r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "") {
		s.leaked = true
	}
	s.mu.Unlock()
	if found == nil {
		refuse(w, http.StatusNotFound, "")
		return
	}
	w.Header().Set("ETag", `"another-`+etag+`"`)
	s.serveBody(w, r, found)
}

func (s *Server) serveBody(w http.ResponseWriter, r *http.Request, o *object) {
	f, err := os.Open(o.path)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "")
		return
	}
	defer f.Close()
	var content io.ReadSeeker = f
	file := filepath.Base(o.path)
	s.mu.Lock()
	broken := r.Method == http.MethodGet && s.breaks[file] != nil && s.breaks[file].times > 0
	var after int64
	if broken {
		s.breaks[file].times--
		after = s.breaks[file].after
	}
	damaged := r.Method == http.MethodGet && s.damage[file] > 0
	if damaged {
		s.damage[file]--
	}
	s.mu.Unlock()
	if damaged {
		data, err := io.ReadAll(f)
		if err != nil {
			refuse(w, http.StatusInternalServerError, "")
			return
		}
		data[len(data)-1] ^= 1
		content = bytes.NewReader(data)
	}
	if broken {
		w = &breaking{ResponseWriter: w, left: after}
	}
	http.ServeContent(w, r, file, o.mod, content)
	if broken {
		panic(http.ErrAbortHandler)
	}
}

// breaking swallows what comes after the first bytes; the handler then aborts the connection.
type breaking struct {
	http.ResponseWriter
	left int64
}

func (b *breaking) Write(p []byte) (int, error) {
	n := min(int64(len(p)), b.left)
	b.left -= n
	if _, err := b.ResponseWriter.Write(p[:n]); err != nil {
		return 0, err
	}
	if b.left == 0 {
		if f, ok := b.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		return int(n), io.ErrShortWrite
	}
	return len(p), nil
}

// object hashes a file once: sha256 for large ones, git's blob hash for small ones.
func (s *Server) object(path string, large int64) (*object, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[path]; o != nil && o.size == st.Size() && o.mod.Equal(st.ModTime()) {
		return o, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if st.Size() < large {
		h = sha1.New() //nolint:gosec // git's own
		fmt.Fprintf(h, "blob %d\x00", st.Size())
	}
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	o := &object{path: path, size: st.Size(), etag: hex.EncodeToString(h.Sum(nil)), mod: st.ModTime()}
	if s.objects == nil {
		s.objects = map[string]*object{}
	}
	s.objects[path] = o
	return o, nil
}
