package gateway

import (
	"cmp"
	"context"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/openai"
	"descant/pkg/pb"
)

// What OpenAI's API has no name for stands under /v1/descant: the adapters with their versions, aliases and lineage, and
// the workers. The answers are those of the micro services.

// workers is the micro service that tells which inference workers there are, in JSON.
func (g *Gateway) workers() bus.Service {
	return bus.Service{
		Name: "workers", Version: g.deps.Version, Description: "inference workers: their bases, room, queues and adapters",
		Methods: []bus.Method{bus.NewMethod("workers.list", g.listWorkers)},
	}
}

func (g *Gateway) listWorkers(ctx context.Context, _ *pb.ListWorkersRequest) (*pb.ListWorkersResponse, error) {
	adverts, err := g.deps.Bus.Adverts(ctx)
	if err != nil {
		return nil, refused(job.InfrastructureError(job.CodeBus, "list workers", err))
	}
	slices.SortFunc(adverts, func(a, b *pb.WorkerAdvert) int { return strings.Compare(a.GetId(), b.GetId()) })
	return &pb.ListWorkersResponse{Workers: adverts}, nil
}

func (g *Gateway) getWorkers(w http.ResponseWriter, r *http.Request) {
	reply, err := g.listWorkers(r.Context(), new(pb.ListWorkersRequest))
	writeMessage(w, reply, err)
}

func (g *Gateway) getAdapters(w http.ResponseWriter, r *http.Request) {
	reply, err := g.listAdapters(r.Context(), new(pb.ListAdaptersRequest))
	writeMessage(w, reply, err)
}

func (g *Gateway) getAdapter(w http.ResponseWriter, r *http.Request) {
	reply, err := g.adapter(r.Context(), &pb.GetAdapterRequest{Ref: r.PathValue("adapter")})
	writeMessage(w, reply, adapterError(err))
}

// promoteAdapter lets an alias stand for the version of the path, for all or a part of its users.
func (g *Gateway) promoteAdapter(w http.ResponseWriter, r *http.Request) {
	req := &pb.PromoteRequest{Ref: r.PathValue("adapter")}
	err := readAlias(w, r, &req.Alias, func(o *openai.Object) {
		var weight float64
		if o.Take("weight", &weight, "a number") {
			req.Weight = &weight
		}
	})
	var entry *pb.AdapterEntry
	if err == nil {
		entry, err = g.promote(r.Context(), req)
	}
	writeMessage(w, entry, adapterError(err))
}

// rollbackAdapter ends a split of an alias, or undoes its last move.
func (g *Gateway) rollbackAdapter(w http.ResponseWriter, r *http.Request) {
	req := &pb.RollbackRequest{Name: r.PathValue("adapter")}
	err := readAlias(w, r, &req.Alias, func(*openai.Object) {})
	var entry *pb.AdapterEntry
	if err == nil {
		entry, err = g.rollback(r.Context(), req)
	}
	writeMessage(w, entry, adapterError(err))
}

// pinOf answers a request that pins or unpins the version or alias of its path.
func pinOf(do func(context.Context, *pb.PinRequest) (*pb.AdapterEntry, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		entry, err := do(r.Context(), &pb.PinRequest{Ref: r.PathValue("adapter")})
		writeMessage(w, entry, adapterError(err))
	}
}

// readAlias reads the body of a request about an alias; more takes its other fields.
func readAlias(w http.ResponseWriter, r *http.Request, alias *string, more func(*openai.Object)) error {
	return readFields(w, r, func(o *openai.Object) {
		o.Take("alias", alias, "a string")
		more(o)
	})
}

// readFields reads a body of one object, whose fields take takes; the others are refused.
func readFields(w http.ResponseWriter, r *http.Request, take func(*openai.Object)) error {
	data, err := openai.ReadBody(w, r)
	if err != nil {
		return err
	}
	o, err := openai.ReadObject(data)
	if err != nil {
		return err
	}
	take(o)
	o.Close()
	return o.Err()
}

// adapterError is an error about the adapter of a request's path.
func adapterError(err error) error {
	if err == nil {
		return nil
	}
	e := *openai.AsError(err)
	if e.Status == http.StatusNotFound {
		param := "adapter"
		e.Param = &param
	}
	return &e
}

// adapterFile sends a file of an adapter, such as its report, as it was published.
func (g *Gateway) adapterFile(w http.ResponseWriter, r *http.Request) {
	ref, name := r.PathValue("adapter"), r.PathValue("file")
	found, err := g.adapter(r.Context(), &pb.GetAdapterRequest{Ref: ref})
	if err != nil {
		openai.WriteError(w, adapterError(err))
		return
	}
	files := found.GetManifest().GetFiles()
	i := slices.IndexFunc(files, func(f *pb.File) bool { return f.GetName() == name })
	if i < 0 {
		names := make([]string, len(files))
		for i, f := range files {
			names[i] = f.GetName()
		}
		openai.WriteError(w, openai.NotFound("file", string(job.CodeNotFound), "adapter %s has no file %q; it has %s", ref, name, strings.Join(names, ", ")))
		return
	}
	key, err := blob.ContentKey(files[i].GetDigest())
	if err != nil {
		openai.WriteError(w, job.BugError("read file "+name, err))
		return
	}
	content, info, err := g.deps.Objects.Get(r.Context(), key)
	if err != nil {
		openai.WriteError(w, job.InfrastructureError(job.CodeStore, "read file "+name, err))
		return
	}
	defer content.Close()
	shownHere := map[string]string{".html": "text/html; charset=utf-8", ".png": "image/png"}[path.Ext(name)]
	header := w.Header()
	header.Set("Content-Type", cmp.Or(shownHere, "application/octet-stream"))
	header.Set("Content-Length", strconv.FormatInt(info.Size, 10))
	header.Set("X-Content-Type-Options", "nosniff")
	// A page that came with an adapter from elsewhere may show itself, but run nothing and ask for nothing.
	header.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:")
	if shownHere == "" {
		header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	}
	if _, err := io.Copy(w, content); err != nil {
		g.log.Warn("a file was not sent to its end", "adapter", ref, "file", name, "error", err)
	}
}
