package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"descant/pkg/lifecycle"
)

// defaultClient bounds everything but the time that a large body may take.
func defaultClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
	}}
}

// client speaks the hub's HTTP API for one repository.
type client struct {
	http     *http.Client
	endpoint string
	token    lifecycle.Secret
	cookie   lifecycle.Secret // sent as m_session_id
	repo     string
	revision string
}

// remote is a hub that offers the files of one repository.
type remote interface {
	name() string
	host() string
	// list gives the commit and the files of the revision.
	list(ctx context.Context) (*listing, error)
	// head gives etag and size of a file.
	head(ctx context.Context, commit, file string) (remoteFile, error)
	// get asks for a file, with the headers that a range needs.
	get(ctx context.Context, commit, file string, header http.Header) (*http.Response, error)
	statusError(resp *http.Response, file string) error
	transportError(err error) error
}

func newClient(repo, revision string, opts Options) *client {
	// Redirects are followed by hand: a token must not travel to another host, and the headers that
	// describe a large file come with the redirect, not with its target.
	c := *opts.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{http: &c, endpoint: strings.TrimRight(opts.Endpoint, "/"), token: opts.Token, repo: repo, revision: revision}
}

func (c *client) name() string {
	if c.revision == "main" {
		return c.repo
	}
	return c.repo + "@" + c.revision
}

func (c *client) host() string { return c.endpoint }

func (c *client) get(ctx context.Context, commit, file string, header http.Header) (*http.Response, error) {
	return c.do(ctx, http.MethodGet, c.fileURL(commit, file), header, anywhere)
}

const maxRedirects = 10

// do sends a request and follows redirects as far as follow allows. The token goes to the endpoint only.
func (c *client) do(ctx context.Context, method, address string, header http.Header, follow func(answer *http.Response, to *url.URL) bool) (*http.Response, error) {
	home, err := url.Parse(c.endpoint)
	if err != nil || home.Host == "" {
		return nil, &Error{Kind: ErrInvalid, Model: c.name(), What: fmt.Sprintf("the endpoint %q is not a URL", c.endpoint), Next: "Set it to something like https://host"}
	}
	at, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	for range maxRedirects {
		req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
		if err != nil {
			return nil, err
		}
		req.Header = header.Clone()
		if req.Header == nil {
			req.Header = http.Header{}
		}
		req.Header.Set("User-Agent", "descant")
		// Transparent compression would make sizes and ranges meaningless.
		req.Header.Set("Accept-Encoding", "identity")
		if !c.token.Empty() && at.Scheme == home.Scheme && at.Host == home.Host {
			req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
		}
		if !c.cookie.Empty() && at.Scheme == home.Scheme && at.Host == home.Host {
			req.AddCookie(&http.Cookie{Name: "m_session_id", Value: c.cookie.Reveal()})
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, err
		}
		location := resp.Header.Get("Location")
		if resp.StatusCode < 300 || resp.StatusCode > 399 || location == "" {
			return resp, nil
		}
		next, err := at.Parse(location)
		if err != nil {
			_ = resp.Body.Close()
			return nil, fmt.Errorf("redirect to %q: %w", location, err)
		}
		if !follow(resp, next) {
			return resp, nil
		}
		_ = resp.Body.Close()
		at = next
	}
	return nil, fmt.Errorf("more than %d redirects", maxRedirects)
}

func anywhere(*http.Response, *url.URL) bool { return true }

// untilDescribed follows a repository that was renamed, on the same host, up to the answer that describes
// the file: what comes after it knows other etags.
func untilDescribed(answer *http.Response, to *url.URL) bool {
	from := answer.Request.URL
	return answer.Header.Get("X-Linked-Etag") == "" && from.Scheme == to.Scheme && from.Host == to.Host
}

func (c *client) fileURL(commit, file string) string {
	return c.endpoint + "/" + c.repo + "/resolve/" + url.PathEscape(commit) + "/" + url.PathEscape(file)
}

// listing is what the API tells about a revision.
type listing struct {
	Commit   string `json:"sha"`
	Siblings []struct {
		Name string `json:"rfilename"`
	} `json:"siblings"`
}

// list asks the hub for the commit and the files of the revision.
func (c *client) list(ctx context.Context) (*listing, error) {
	address := c.endpoint + "/api/models/" + c.repo + "/revision/" + url.PathEscape(c.revision)
	var out listing
	err := retry(ctx, func() error {
		resp, err := c.do(ctx, http.MethodGet, address, nil, anywhere)
		if err != nil {
			return c.transportError(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return c.statusError(resp, "")
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, 32<<20)).Decode(&out); err != nil {
			return c.transportError(fmt.Errorf("the answer of the hub is not understood: %w", err))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !commitPattern.MatchString(out.Commit) {
		return nil, &Error{Kind: ErrUnavailable, Model: c.name(), What: fmt.Sprintf("%s names the commit %q", c.endpoint, out.Commit),
			Next: "Check that HF_ENDPOINT is a mirror of the Hugging Face hub"}
	}
	return &out, nil
}

// remoteFile is what the hub tells about one file.
type remoteFile struct {
	etag string // sha256 for large files, git's sha1 for small ones
	size int64  // bytes, -1 if not told
}

// head asks for etag and size of a file.
func (c *client) head(ctx context.Context, commit, file string) (remoteFile, error) {
	var out remoteFile
	err := retry(ctx, func() error {
		var linkedTag, linkedSize string
		resp, err := c.do(ctx, http.MethodHead, c.fileURL(commit, file), nil, untilDescribed)
		if err != nil {
			return c.transportError(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode >= 400 {
			return c.statusError(resp, file)
		}
		linkedTag, linkedSize = resp.Header.Get("X-Linked-Etag"), resp.Header.Get("X-Linked-Size")
		if linkedTag == "" {
			linkedTag = resp.Header.Get("ETag")
		}
		out.etag = strings.Trim(strings.TrimPrefix(linkedTag, "W/"), `"`)
		out.size = -1
		if linkedSize != "" {
			if _, err := fmt.Sscan(linkedSize, &out.size); err != nil || out.size < 0 {
				return &Error{Kind: ErrUnavailable, Model: c.name(), What: fmt.Sprintf("%s: the hub gives the size %q", file, linkedSize)}
			}
		} else if resp.StatusCode == http.StatusOK && resp.ContentLength >= 0 {
			out.size = resp.ContentLength
		}
		if !etagPattern(out.etag) {
			return &Error{Kind: ErrUnavailable, Model: c.name(), What: fmt.Sprintf("%s: the hub gives the etag %q", file, out.etag),
				Next: "Check that HF_ENDPOINT is a mirror of the Hugging Face hub"}
		}
		return nil
	})
	return out, err
}

// etagPattern accepts what may become the name of a blob.
func etagPattern(etag string) bool {
	if len(etag) < 8 || len(etag) > 128 {
		return false
	}
	for _, r := range etag {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' {
			return false
		}
	}
	return true
}

// statusError explains an answer that is not a success, in the words of the hub's own error codes.
func (c *client) statusError(resp *http.Response, file string) error {
	code := resp.Header.Get("X-Error-Code")
	what := strings.TrimSpace(fmt.Sprintf("%s answers %s %s", c.endpoint, resp.Status, code))
	subject := &Error{Model: c.name()}
	switch {
	case code == "GatedRepo" || resp.StatusCode == http.StatusForbidden:
		subject.Kind, subject.What = ErrDenied, "access is restricted ("+what+")"
		subject.Next = fmt.Sprintf("Accept its conditions at %s/%s and set HF_TOKEN to a token of that account", c.endpoint, c.repo)
	case code == "RevisionNotFound":
		subject.Kind, subject.What, subject.Next = ErrNotFound, "it has no revision "+c.revision, "Check the part after @"
	case code == "EntryNotFound" || resp.StatusCode == http.StatusNotFound && file != "":
		subject.Kind, subject.What = ErrInvalid, "it has no file "+file
	case resp.StatusCode == http.StatusUnauthorized && !c.token.Empty() && code != "RepoNotFound":
		subject.Kind, subject.What, subject.Next = ErrDenied, "the token is refused ("+what+")", "Renew HF_TOKEN"
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusNotFound:
		// The hub answers 401 for repositories that do not exist as well as for private ones.
		subject.Kind, subject.What = ErrNotFound, "there is no such repository, or it is private ("+what+")"
		subject.Next = "Check the spelling; for a private one set HF_TOKEN"
	default:
		subject.Kind, subject.What = ErrUnavailable, what
		subject.Next = "Try again later, or set HF_ENDPOINT to a mirror"
	}
	return subject
}

// transportError explains that no usable answer came.
func (c *client) transportError(err error) error {
	var own *Error
	if errors.As(err, &own) || errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Kind: ErrUnavailable, Model: c.name(), What: "cannot reach " + c.endpoint, Err: err,
		Next: "Check the network, or set HF_ENDPOINT to a mirror that you can reach; a model that is on this machine can be named by its folder"}
}

const retries = 4

// retry repeats what failed because something was unavailable, with growing pauses.
func retry(ctx context.Context, attempt func() error) error {
	pause := 200 * time.Millisecond
	for n := 1; ; n++ {
		err := attempt()
		if err == nil || !errors.Is(err, ErrUnavailable) || n == retries || refused(err) {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause *= 3
	}
}

// refused tells that nobody listens or the name is unknown, which a second attempt will not change.
func refused(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &op) && op.Op == "dial"
}

func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
