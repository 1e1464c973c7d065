package hubtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// serveScope answers the endpoints of ModelScope that downloads use, for the same repositories:
//
//	GET /api/v1/models/{repo}/repo/files?Revision=&Recursive=true   names, sizes and sha256
//	GET /api/v1/models/{repo}/repo?Revision=&FilePath=              a file; large ones by redirect, with Range
//
// The token is the cookie m_session_id. It returns false for other paths.
func (s *Server) serveScope(w http.ResponseWriter, r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/models/")
	if !ok {
		return false
	}
	name, listing := strings.CutSuffix(rest, "/repo/files")
	if !listing {
		if name, ok = strings.CutSuffix(rest, "/repo"); !ok {
			return false
		}
	}
	query := r.URL.Query()
	repo, known := s.Repos[name]
	cookie, err := r.Cookie("m_session_id")
	authorised := s.Token != "" && err == nil && cookie.Value == s.Token
	switch {
	case !known, repo.Private && !authorised, query.Get("Revision") != "master":
		scopeRefuse(w, http.StatusNotFound, 10010205001, "model not found")
	case repo.Gated && !authorised:
		scopeRefuse(w, http.StatusForbidden, 10010101007, "no permission")
	case listing:
		s.scopeFiles(w, repo)
	default:
		s.scopeFile(w, r, repo, query.Get("FilePath"))
	}
	return true
}

func scopeRefuse(w http.ResponseWriter, status, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"Code":%d,"Message":%q,"Success":false}`, code, message)
}

func (s *Server) scopeFiles(w http.ResponseWriter, repo Repo) {
	entries, err := os.ReadDir(repo.Dir)
	if err != nil {
		scopeRefuse(w, http.StatusInternalServerError, 500, err.Error())
		return
	}
	files := []map[string]any{{"Name": "figures", "Path": "figures", "Type": "tree", "Size": 0, "Sha256": ""}}
	for _, e := range entries {
		sum, size, err := hashFile(filepath.Join(repo.Dir, e.Name()))
		if err != nil {
			scopeRefuse(w, http.StatusInternalServerError, 500, err.Error())
			return
		}
		files = append(files, map[string]any{"Name": e.Name(), "Path": e.Name(), "Type": "blob", "Size": size, "Sha256": sum})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"Code": 200, "Success": true, "Data": map[string]any{"Files": files}}) // a client that went away is not our problem
}

func (s *Server) scopeFile(w http.ResponseWriter, r *http.Request, repo Repo, file string) {
	large := repo.Large
	if large == 0 {
		large = 1 << 20
	}
	o, err := s.object(filepath.Join(repo.Dir, filepath.Base(file)), large)
	if err != nil || file != filepath.Base(file) {
		scopeRefuse(w, http.StatusNotFound, 10990101404, "file not found")
		return
	}
	if o.size < large {
		s.serveBody(w, r, o)
		return
	}
	cdn := s.CDN
	if cdn == "" {
		cdn = "http://" + r.Host
	}
	http.Redirect(w, r, strings.TrimRight(cdn, "/")+"/cdn/"+o.etag, http.StatusFound)
}

func hashFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
