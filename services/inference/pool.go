package inference

import (
	"context"
	"sync"

	"descant/pkg/job"
	"descant/pkg/registry"
)

// pool holds the bases that are in memory, each opened once, the least recently used ones closed when
// there are too many.
type pool struct {
	most int
	open func(ctx context.Context, base registry.Base) (*served, error)

	mu     sync.Mutex
	bases  map[string]*pooled // by digest
	clock  int
	closed bool
}

type pooled struct {
	ready chan struct{} // closed when model or err is set
	model *served
	err   error
	users int
	used  int // value of the pool's clock at the last use
}

func newPool(most int, open func(context.Context, registry.Base) (*served, error)) *pool {
	return &pool{most: most, open: open, bases: map[string]*pooled{}}
}

// get returns the model of a base, opened if need be; the caller calls release when it is done.
func (p *pool) get(ctx context.Context, base registry.Base) (model *served, release func(), err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, nil, job.InfrastructureError(job.CodeNotReady, "use the base "+base.Ref, context.Canceled)
	}
	at, there := p.bases[base.Digest]
	if !there {
		at = &pooled{ready: make(chan struct{})}
		p.bases[base.Digest] = at
		idle := p.evict()
		// The opening is not the request's: it goes on when its first requester has gone.
		go p.fill(context.WithoutCancel(ctx), at, base, idle)
	}
	release = p.hold(at)
	p.mu.Unlock()
	select {
	case <-at.ready:
	case <-ctx.Done():
		release()
		return nil, nil, context.Cause(ctx)
	}
	if at.err != nil {
		release()
		return nil, nil, at.err
	}
	return at.model, release, nil
}

// use returns the model of a digest if it is open; the caller calls release when it is done.
func (p *pool) use(digest string) (model *served, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.bases[digest]
	if at == nil || at.model == nil {
		return nil, nil
	}
	return at.model, p.hold(at)
}

// hold counts a user of a base until release is called; p.mu is held.
func (p *pool) hold(at *pooled) (release func()) {
	p.clock++
	at.users, at.used = at.users+1, p.clock
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		at.users--
	})
}

// evict takes the least recently used idle bases out until there is room; p.mu is held.
func (p *pool) evict() (idle []*served) {
	for len(p.bases) > p.most {
		oldest := ""
		for digest, at := range p.bases {
			if at.users == 0 && at.model != nil && (oldest == "" || at.used < p.bases[oldest].used) {
				oldest = digest
			}
		}
		if oldest == "" {
			return idle // all are busy: one more than wanted is better than a refusal
		}
		idle = append(idle, p.bases[oldest].model)
		delete(p.bases, oldest)
	}
	return idle
}

// fill closes what was evicted, to have its memory, and opens the base.
func (p *pool) fill(ctx context.Context, at *pooled, base registry.Base, idle []*served) {
	for _, m := range idle {
		m.close()
	}
	model, err := p.open(ctx, base)
	p.mu.Lock()
	defer p.mu.Unlock()
	at.model, at.err = model, err
	if err != nil && p.bases[base.Digest] == at {
		delete(p.bases, base.Digest) // the next request tries again
	}
	close(at.ready)
}

// loaded returns the models that are open.
func (p *pool) loaded() []*served {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*served
	for _, at := range p.bases {
		if at.model != nil {
			list = append(list, at.model)
		}
	}
	return list
}

// close waits for what is being opened and closes every model.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	bases := p.bases
	p.bases = map[string]*pooled{}
	p.mu.Unlock()
	for _, at := range bases {
		<-at.ready
		if at.model != nil {
			at.model.close()
		}
	}
}
