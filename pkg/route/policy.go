package route

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// Worker is what is known of an inference worker.
type Worker struct {
	// ID names it.
	ID string
	// Bases are the bases in its memory.
	Bases []Base
	// Adapters are the digests of the adapters that answer at once.
	Adapters []string
	// Draining says that it ends, and takes no new requests.
	Draining bool
}

// Base is a base in a worker's memory.
type Base struct {
	Name, Digest string
	// Rows is how many requests it answers at once.
	Rows int
	// Load is how many requests it has, those that wait included.
	Load int
}

// Wish is what a request needs of a worker.
type Wish struct {
	// Base is the digest or the name of the base; "" takes any.
	Base string
	// Adapters are the digests of the adapters; none for the bare base.
	Adapters []string
	// Model, if not empty, is sent instead of what the request names: the same versions wherever it is tried.
	Model string
}

// base returns the base of a worker that a wish is for, or nil. A version that was trained as a whole is a base itself.
func (w *Worker) base(wish Wish) *Base {
	i := slices.IndexFunc(w.Bases, func(b Base) bool {
		return wish.Base == "" || wish.Base == b.Digest || wish.Base == b.Name || slices.Contains(wish.Adapters, b.Digest)
	})
	if i < 0 {
		return nil
	}
	return &w.Bases[i]
}

// standing is how well a worker suits a wish; smaller is better, the first field that differs decides.
type standing struct {
	// A base that is not in memory takes seconds to minutes to load, and a worker that holds others may have to close
	// one for it: others counts them.
	noBase, others int
	// Waiting for others' answers takes longer than loading an adapter.
	full int
	// Adapters that are not loaded have to be, and push others out.
	missing int
	// Of two that are equal so far the emptier one.
	load float64
	// Of equals each adapter has its own order, so that it stays with one worker as long as that has room.
	order uint64
}

func (w *Worker) standing(wish Wish) standing {
	var s standing
	key := append([]string{w.ID, wish.Base}, wish.Adapters...)
	if base := w.base(wish); base == nil {
		s.noBase, s.others = 1, len(w.Bases)
		key = key[:2] // all its adapters go where the base will be loaded first
	} else {
		s.load = float64(base.Load) / float64(max(base.Rows, 1))
		if base.Load >= base.Rows {
			s.full = 1
		}
	}
	for _, a := range wish.Adapters {
		if !slices.Contains(w.Adapters, a) {
			s.missing++
		}
	}
	h := fnv.New64a()
	for _, part := range key {
		_, _ = h.Write([]byte(part + "\n")) // a hash takes everything
	}
	s.order = h.Sum64()
	return s
}

func (s standing) compare(o standing) int {
	return cmp.Or(cmp.Compare(s.noBase, o.noBase), cmp.Compare(s.others, o.others), cmp.Compare(s.full, o.full),
		cmp.Compare(s.missing, o.missing), cmp.Compare(s.load, o.load), cmp.Compare(s.order, o.order))
}

// Rank returns the workers that may take a request, the best first.
func Rank(workers []Worker, wish Wish) []Worker {
	var able []Worker
	for _, w := range workers {
		if !w.Draining {
			able = append(able, w)
		}
	}
	slices.SortStableFunc(able, func(a, b Worker) int { return a.standing(wish).compare(b.standing(wish)) })
	return able
}
