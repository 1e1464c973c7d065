package route

import (
	"slices"
	"sync"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// table holds the workers that take requests, by their adverts, and what this process has sent to them since.
type table struct {
	mu      sync.Mutex
	workers map[string]*entry
	// changed is closed and made anew when there may be room where none was.
	changed chan struct{}
}

type entry struct {
	advert *pb.WorkerAdvert
	// running are our requests there, and since is by how many they have grown since the advert; both by base.
	running, since map[string]int
}

func newTable() *table {
	return &table{workers: map[string]*entry{}, changed: make(chan struct{})}
}

// put notes an advert.
func (t *table) put(advert *pb.WorkerAdvert) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.workers[advert.GetId()]
	if e == nil {
		e = &entry{running: map[string]int{}}
		t.workers[advert.GetId()] = e
	}
	e.advert, e.since = advert, map[string]int{}
	t.wake()
}

// remove notes that a worker is gone; its next advert brings it back.
func (t *table) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.workers, id)
}

// keep removes all workers but those listed.
func (t *table) keep(ids map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.workers {
		if !ids[id] {
			delete(t.workers, id)
		}
	}
}

// wake tells everybody who waits; t.mu is held.
func (t *table) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// pick chooses the best worker that was not tried yet and counts the request there until done is called. Without one it
// returns a channel that is closed when something has changed. A worker that has a base in memory and is not ready yet, as it
// still compiles, is better than none.
func (t *table) pick(wish Wish, tried map[string]bool) (id string, done func(), changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var workers, starting []Worker
	for id, e := range t.workers {
		switch {
		case tried[id]:
		case e.advert.GetReady():
			workers = append(workers, e.worker(id))
		case !e.advert.GetDraining() && len(e.advert.GetBases()) > 0:
			starting = append(starting, e.worker(id))
		}
	}
	if len(workers) == 0 {
		workers = starting
	}
	ranked := Rank(workers, wish)
	if len(ranked) == 0 {
		return "", nil, t.changed
	}
	best := ranked[0]
	at, base := t.workers[best.ID], wish.Base
	if b := best.base(wish); b != nil {
		base = b.Digest
	}
	at.running[base]++
	at.since[base]++
	return best.ID, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if at.running[base]--; at.running[base] == 0 {
			delete(at.running, base) // a base is whatever a client has written
		}
		at.since[base]--
	}, nil
}

// worker is an entry as the policy sees it.
func (e *entry) worker(id string) Worker {
	w := Worker{ID: id, Draining: e.advert.GetDraining()}
	for _, b := range e.advert.GetBases() {
		told := int(b.GetRows()) - int(b.GetFreeRows()) + int(b.GetWaiting())
		// The advert is a moment old, so our own requests may not be in it yet or may be in it still.
		load := max(told+e.since[b.GetDigest()], e.running[b.GetDigest()])
		w.Bases = append(w.Bases, Base{Name: b.GetBase(), Digest: b.GetDigest(), Rows: int(b.GetRows()), Load: load})
	}
	for _, a := range e.advert.GetAdapters() {
		if a.GetState() == bus.AdapterReady {
			w.Adapters = append(w.Adapters, a.GetDigest())
		}
	}
	slices.Sort(w.Adapters)
	return w
}
