package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // an id in the form of git's, nothing is secured by it
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"descant/pkg/lifecycle"
)

// The names of repositories in the cache.
const (
	cachePrefix = "models--"
	scopePrefix = "modelscope--"
)

// modelScope speaks the API of ModelScope that its own client uses (modelscope/hub/api.py and file_download.py):
//
//	GET /api/v1/models/{repo}/repo/files?Revision=&Recursive=true   names, sizes and sha256 of all files
//	GET /api/v1/models/{repo}/repo?Revision=&FilePath=              a file, with Range
type modelScope struct {
	*client
	files map[string]remoteFile
}

func newModelScope(repo, revision string, opts Options) *modelScope {
	c := newClient(repo, revision, opts)
	c.endpoint = strings.TrimRight(opts.ModelScopeEndpoint, "/")
	c.token, c.cookie = lifecycle.Secret{}, opts.ModelScopeToken
	return &modelScope{client: c}
}

func (m *modelScope) name() string {
	if m.revision == "master" {
		return m.repo
	}
	return m.repo + "@" + m.revision
}

// scopeListing is the answer to the question for files.
type scopeListing struct {
	Code    int64
	Message string
	Data    struct {
		Files []struct {
			Path   string
			Type   string // blob or tree
			Size   int64
			Sha256 string
		}
	}
}

// list asks for the files of the revision. Their hashes make the commit: equal files are the same snapshot.
func (m *modelScope) list(ctx context.Context) (*listing, error) {
	var answer scopeListing
	query := url.Values{"Revision": {m.revision}, "Recursive": {"true"}}
	err := retry(ctx, func() error {
		resp, err := m.do(ctx, http.MethodGet, m.endpoint+"/api/v1/models/"+m.repo+"/repo/files?"+query.Encode(), nil, anywhere)
		if err != nil {
			return m.transportError(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return m.statusError(resp, "")
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, 32<<20)).Decode(&answer); err != nil {
			return m.transportError(fmt.Errorf("the answer of ModelScope is not understood: %w", err))
		}
		if answer.Code != http.StatusOK {
			return &Error{Kind: ErrNotFound, Model: m.name(), What: fmt.Sprintf("%s answers %d %s", m.endpoint, answer.Code, answer.Message), Next: "Check the spelling and the part after @"}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.files = map[string]remoteFile{}
	var lines []string
	out := &listing{}
	for _, file := range answer.Data.Files {
		hash := strings.ToLower(file.Sha256)
		if file.Type == "tree" || len(hash) != 64 || !isHex(hash) || file.Size < 0 {
			continue // a folder, or nothing that could be checked: it counts as not there
		}
		m.files[file.Path] = remoteFile{etag: hash, size: file.Size}
		lines = append(lines, fmt.Sprintf("%s %d %s", hash, file.Size, file.Path))
		out.Siblings = append(out.Siblings, struct {
			Name string `json:"rfilename"`
		}{file.Path})
	}
	sort.Strings(lines)
	sum := sha1.Sum([]byte(strings.Join(lines, "\n"))) //nolint:gosec // see above
	out.Commit = hex.EncodeToString(sum[:])
	return out, nil
}

// head tells what list was told.
func (m *modelScope) head(_ context.Context, _, file string) (remoteFile, error) {
	found, ok := m.files[file]
	if !ok {
		return found, &Error{Kind: ErrInvalid, Model: m.name(), What: "it has no file " + file}
	}
	return found, nil
}

// get asks for the file of the revision: if that moves on meanwhile, the hash tells.
func (m *modelScope) get(ctx context.Context, _, file string, header http.Header) (*http.Response, error) {
	query := url.Values{"Revision": {m.revision}, "FilePath": {file}}
	return m.do(ctx, http.MethodGet, m.endpoint+"/api/v1/models/"+m.repo+"/repo?"+query.Encode(), header, anywhere)
}

func (m *modelScope) statusError(resp *http.Response, file string) error {
	what := fmt.Sprintf("%s answers %s", m.endpoint, resp.Status)
	e := &Error{Kind: ErrUnavailable, Model: m.name(), What: what, Next: "Try again later"}
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		e.Kind, e.What, e.Next = ErrDenied, "access is restricted ("+what+")", "Set MODELSCOPE_API_TOKEN to a token of an account that may read it"
	case resp.StatusCode == http.StatusNotFound && file != "":
		e.Kind, e.What, e.Next = ErrInvalid, "it has no file "+file, ""
	case resp.StatusCode == http.StatusNotFound:
		e.Kind, e.What = ErrNotFound, "there is no such repository or revision on ModelScope, or it is private ("+what+")"
		e.Next = "Check the spelling; for a private one set MODELSCOPE_API_TOKEN; for the Hugging Face hub unset USE_MODELSCOPE_HUB"
	}
	return e
}

func (m *modelScope) transportError(err error) error {
	var own *Error
	if errors.As(err, &own) || errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Kind: ErrUnavailable, Model: m.name(), What: "cannot reach " + m.endpoint, Err: err,
		Next: "Check the network; a model that is on this machine can be named by its folder"}
}
