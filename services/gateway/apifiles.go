package gateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/job"
	"descant/pkg/openai"
	"descant/pkg/registry"
)

const (
	filesPage = 10000 // files of a page where the request says nothing, as in OpenAI's API
	// maxFormField bounds what is not the file.
	maxFormField = 4 << 10
)

func fileObject(set registry.Dataset) openai.File {
	return openai.File{ID: set.Name, Object: "file", Bytes: set.Size, CreatedAt: set.PushedAt.Unix(), Filename: set.File,
		Purpose: openai.PurposeFineTune, Status: "processed", Rows: set.Rows, Digest: set.Digest}
}

// createFile checks and stores an uploaded file.
func (g *Gateway) createFile(w http.ResponseWriter, r *http.Request) {
	set, err := g.receiveFile(w, r)
	if err != nil {
		e := *openai.AsError(err)
		if e.Status == http.StatusBadRequest && len(e.Problems) > 0 { // of the rows, whose fields are no parameters
			param := "file"
			e.Param = &param
		}
		openai.WriteError(w, &e)
		return
	}
	openai.WriteJSON(w, http.StatusOK, fileObject(set))
}

// receiveFile reads the form: the file goes to the disk, as it may be larger than the memory.
func (g *Gateway) receiveFile(w http.ResponseWriter, r *http.Request) (set registry.Dataset, err error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return set, openai.Invalid("file", openai.CodeMissingParameter, "send the file as multipart/form-data with the fields purpose and file")
	}
	r.Body = http.MaxBytesReader(w, r.Body, int64(g.cfg.MaxUpload))
	form, err := r.MultipartReader()
	if err != nil {
		return set, openai.Invalid("file", openai.CodeInvalidValue, "the form cannot be read: %v", err)
	}
	path := ""
	defer func() {
		if path != "" {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	purpose, file := "", ""
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return set, formError(err)
		}
		switch name := part.FormName(); name {
		case "purpose":
			purpose, err = formText(part)
		case "file":
			if path != "" {
				return set, openai.Invalid("file", openai.CodeInvalidValue, "file is given twice")
			}
			file = part.FileName()
			path, err = g.spool(part)
		default:
			return set, openai.Invalid(name, openai.CodeUnsupportedParameter, "%s is not supported: a file stays until it is deleted, and has purpose and file only", name)
		}
		if err != nil {
			return set, formError(err)
		}
	}
	switch {
	case purpose == "":
		return set, openai.Invalid("purpose", openai.CodeMissingParameter, "purpose is missing: use fine-tune")
	case purpose != openai.PurposeFineTune:
		return set, openai.Invalid("purpose", openai.CodeUnsupportedParameter, "purpose is %q: files are for fine-tune here", purpose)
	case path == "":
		return set, openai.Invalid("file", openai.CodeMissingParameter, "file is missing")
	}
	return g.storeDataset(r.Context(), path, cleanName(file))
}

// spool writes a part to a file in the work folder.
func (g *Gateway) spool(part io.Reader) (path string, err error) {
	if err := os.MkdirAll(g.cfg.WorkDir, 0o755); err != nil {
		return "", err
	}
	out, err := os.CreateTemp(g.cfg.WorkDir, "upload-*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, part)
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(out.Name()) // the first error is the one to tell
		return "", err
	}
	return out.Name(), nil
}

func formText(part *multipart.Part) (string, error) {
	data, err := io.ReadAll(io.LimitReader(part, maxFormField))
	return string(data), err
}

// formError tells an upload that broke off or is too large from what is wrong here.
func formError(err error) error {
	var tooLarge *http.MaxBytesError
	var path *os.PathError
	if errors.As(err, &tooLarge) || errors.As(err, &path) {
		return err
	}
	return openai.Invalid("file", openai.CodeInvalidValue, "the form cannot be read: %v", err)
}

const longestName = 200 // characters of a file's name

// cleanName is the last part of a file's name, as it is stored and shown.
func cleanName(name string) string {
	name = filepath.Base(strings.ReplaceAll(name, `\`, "/"))
	if name == "." || name == "/" {
		name = "rows"
	}
	if runes := []rune(name); len(runes) > longestName {
		name = string(runes[len(runes)-longestName:]) // the end says what format it has
	}
	return strings.ToValidUTF8(name, "?")
}

func (g *Gateway) listFiles(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	page, err := openai.ReadPage(query, filesPage, filesPage, "purpose", "order")
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	if purpose := query.Get("purpose"); purpose != "" && purpose != openai.PurposeFineTune {
		openai.WriteJSON(w, http.StatusOK, openai.NewList(nil, false, func(f openai.File) string { return f.ID }))
		return
	}
	sets, err := g.listDatasets(r.Context())
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	files := make([]openai.File, len(sets))
	for i, set := range sets {
		files[i] = fileObject(set)
	}
	switch order := query.Get("order"); order {
	case "", "desc":
	case "asc":
		for i, j := 0, len(files)-1; i < j; i, j = i+1, j-1 {
			files[i], files[j] = files[j], files[i]
		}
	default:
		openai.WriteError(w, openai.Invalid("order", openai.CodeInvalidValue, "order is %q: use asc or desc", order))
		return
	}
	list, err := openai.Cut(files, page, func(f openai.File) string { return f.ID })
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	openai.WriteJSON(w, http.StatusOK, list)
}

// fileError makes a dataset that is not there a file that is not there.
func fileError(id string, err error) error {
	if job.AsError("look up the file", err).Code == job.CodeDatasetMissing {
		return noFile(id)
	}
	return err
}

func noFile(id string) error {
	return openai.NotFound("id", string(job.CodeNotFound), "there is no file %q; GET /v1/files lists them", id)
}

func (g *Gateway) getFile(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("file")
	set, err := g.deps.Registry.Dataset(r.Context(), id)
	if err != nil {
		openai.WriteError(w, fileError(id, err))
		return
	}
	openai.WriteJSON(w, http.StatusOK, fileObject(set))
}

func (g *Gateway) deleteFile(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("file")
	if _, err := g.deps.Registry.DeleteDataset(r.Context(), id); err != nil {
		openai.WriteError(w, fileError(id, err))
		return
	}
	openai.WriteJSON(w, http.StatusOK, openai.Deleted{ID: id, Object: "file", Deleted: true})
}

// fileContent sends the bytes as they were uploaded.
func (g *Gateway) fileContent(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("file")
	set, err := g.deps.Registry.Dataset(r.Context(), id)
	if err != nil {
		openai.WriteError(w, fileError(id, err))
		return
	}
	key, err := blob.ContentKey(set.Digest)
	if err != nil {
		openai.WriteError(w, job.BugError("read file "+id, err))
		return
	}
	content, info, err := g.deps.Objects.Get(r.Context(), key)
	if err != nil {
		openai.WriteError(w, job.InfrastructureError(job.CodeStore, "read file "+id, err))
		return
	}
	defer content.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size, 10))
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": set.File}))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := io.Copy(w, content); err != nil {
		g.log.Warn("a file was not sent to its end", "file", id, "error", fmt.Errorf("send: %w", err))
	}
}
