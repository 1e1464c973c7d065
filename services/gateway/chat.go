package gateway

import (
	"cmp"
	"context"
	"errors"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/route"
)

// chatQueue is the group of all gateways on inference.chat: each request goes to one of them.
const chatQueue = "inference"

// maxWaiting is how many chat requests may wait for the first worker to come.
const maxWaiting = 256

// serveChat takes the requests that people send to inference.chat and has workers answer them, from the moment on that
// the workers are known.
func (g *Gateway) serveChat(ctx context.Context) error {
	select {
	case <-g.routing:
		return g.deps.Bus.ServeChat(ctx, bus.SubjectChat, chatQueue, g.chat, nil)
	case <-ctx.Done():
		return nil
	}
}

func (g *Gateway) chat(ctx context.Context, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
	err := g.router.Chat(ctx, req, send)
	if ready := (*bus.Failure)(nil); errors.As(err, &ready) {
		return err
	}
	return refused(err)
}

// wish tells which base and adapters a request is for, and pins their versions: it is sent on by digest, so that it gets
// the same ones wherever it is tried again. What is not known here, the worker refuses.
func (g *Gateway) wish(ctx context.Context, req *pb.ChatRequest) route.Wish {
	ref := cmp.Or(req.GetModel(), req.GetBase())
	if !registry.IsModel(ref) {
		return route.Wish{Base: ref}
	}
	found, err := g.deps.Registry.ResolveModel(ctx, ref, req.GetUser())
	if err != nil {
		return route.Wish{Base: ref}
	}
	return route.Wish{Base: found[0].Version.GetBaseDigest(), Adapters: found.Digests(), Model: found.Reference()}
}
