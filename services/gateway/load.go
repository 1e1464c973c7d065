package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"descant/pkg/job"
	"descant/pkg/openai"
	"descant/pkg/pb"
)

// load gives a published version another name.
func (g *Gateway) load(ctx context.Context, req *pb.LoadAdapterRequest) (*pb.AdapterEntry, error) {
	if _, err := g.deps.Registry.Load(ctx, req.GetName(), req.GetRef(), req.GetReplace(), time.Now()); err != nil {
		return nil, refused(err)
	}
	entry, err := g.deps.Registry.Entry(ctx, req.GetName())
	return entry, refused(err)
}

// unload takes such a name away.
func (g *Gateway) unload(ctx context.Context, req *pb.UnloadAdapterRequest) (*pb.AdapterEntry, error) {
	entry, err := g.deps.Registry.Unload(ctx, req.GetName(), time.Now())
	return entry, refused(err)
}

// loadLoRA is adapters.load as vLLM's clients ask for it.
func (g *Gateway) loadLoRA(w http.ResponseWriter, r *http.Request) {
	req := new(pb.LoadAdapterRequest)
	err := readFields(w, r, func(o *openai.Object) {
		need(o, "lora_name", &req.Name)
		need(o, "lora_path", &req.Ref)
		o.Take("load_inplace", &req.Replace, "true or false")
		o.Only("base_model_name", "an adapter names its own base")
		o.Only("is_3d_lora_weight", "weights of experts are not served", "false")
	})
	if err == nil {
		_, err = g.load(r.Context(), req)
	}
	if err != nil {
		openai.WriteError(w, vllmError(err, "lora_path"))
		return
	}
	vllmSuccess(w, req.GetName(), "added")
}

// unloadLoRA is adapters.unload as vLLM's clients ask for it.
func (g *Gateway) unloadLoRA(w http.ResponseWriter, r *http.Request) {
	req := new(pb.UnloadAdapterRequest)
	err := readFields(w, r, func(o *openai.Object) {
		need(o, "lora_name", &req.Name)
		o.Only("lora_int_id", "adapters have names only")
	})
	if err == nil {
		_, err = g.unload(r.Context(), req)
	}
	if err != nil {
		openai.WriteError(w, vllmError(err, "lora_name"))
		return
	}
	vllmSuccess(w, req.GetName(), "removed")
}

// need takes a text that may not be left out.
func need(o *openai.Object, name string, into *string) {
	if !o.Has(name) {
		o.Problem(name, openai.CodeMissingParameter, "is missing")
	}
	o.Take(name, into, "a string")
}

// vllmError gives what is not there the name of the field that asked for it, and fields the names that they have here.
func vllmError(err error, missing string) error {
	e := *openai.AsError(err)
	name := ""
	switch {
	case e.Status == http.StatusNotFound:
		name = missing
	case e.Code != nil && (*e.Code == string(job.CodeConflict) || *e.Code == string(job.CodeBadRequest)):
		name = "lora_name"
	default:
		return &e
	}
	e.Param = &name
	for i := range e.Problems {
		e.Problems[i].Param = name
	}
	return &e
}

func vllmSuccess(w http.ResponseWriter, name, done string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Success: LoRA adapter '%s' %s successfully.", name, done)
}
