package route

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// Bus is what the router needs of bus.Bus.
type Bus interface {
	WatchAdverts(ctx context.Context) iter.Seq2[bus.Advert, error]
	Chat(ctx context.Context, subject string, req *pb.ChatRequest, silence time.Duration) iter.Seq2[*pb.ChatChunk, error]
	WatchWorker(ctx context.Context, worker string) error
}

// Config of a router.
type Config struct {
	// Wait is how long a request waits while there is no worker at all.
	Wait time.Duration
	// MaxWaiting is how many requests may wait so.
	MaxWaiting int
}

const (
	// silence is how long a worker that lives may say nothing: a first answer waits for downloads and compilers.
	silence = 10 * time.Minute
	// relist is how often the adverts are listed anew, as a message of the watch can get lost.
	relist = 30 * time.Second
	// maxLosses is how many workers may die over one request: it may be the request that kills them.
	maxLosses = 2
	// retryAfter is when to come back to workers that are not there or overloaded.
	retryAfter = 2 * time.Second
)

// Router sends requests to workers. It is safe for concurrent use.
type Router struct {
	cfg     Config
	bus     Bus
	wish    func(ctx context.Context, req *pb.ChatRequest) Wish
	log     *slog.Logger
	table   *table
	waiting atomic.Int64
}

// New returns a router; Run keeps it informed. wish tells what a request needs: it is a hint, as the worker has the last
// word on what a model's name stands for.
func New(cfg Config, b Bus, wish func(context.Context, *pb.ChatRequest) Wish, log *slog.Logger) *Router {
	return &Router{cfg: cfg, bus: b, wish: wish, log: log, table: newTable()}
}

// Run follows the adverts of the workers until ctx ends; listed, if not nil, is called when all are known.
func (r *Router) Run(ctx context.Context, listed func()) {
	for ctx.Err() == nil {
		round, cancel := context.WithTimeout(ctx, relist)
		err := r.follow(round, func() {
			if listed != nil {
				listed()
				listed = nil
			}
		})
		cancel()
		if err != nil && ctx.Err() == nil {
			r.log.Warn("cannot watch the workers; those that are known are used", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// follow lists the adverts and notes changes until ctx ends.
func (r *Router) follow(ctx context.Context, listed func()) error {
	there, current := map[string]bool{}, false
	for one, err := range r.bus.WatchAdverts(ctx) {
		switch {
		case err != nil:
			return err
		case one.Current:
			r.table.keep(there)
			current = true
			listed()
		case one.Info == nil:
			r.table.remove(one.Worker)
		default:
			if !current {
				there[one.Worker] = true
			}
			r.table.put(one.Info)
		}
	}
	return nil
}

// Chat has a request answered by a worker. It is a bus.ChatHandler.
func (r *Router) Chat(ctx context.Context, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
	wish := r.wish(ctx, req)
	if wish.Model != "" {
		req = bus.Clone(req)
		req.Model = wish.Model
	}
	patience := time.Now().Add(r.cfg.Wait)
	tried, losses := map[string]bool{}, 0
	var refused error
	for {
		id, done, changed := r.table.pick(wish, tried)
		if id == "" && refused != nil {
			return refused
		}
		if id == "" {
			if err := r.wait(ctx, patience, changed); err != nil {
				return err
			}
			clear(tried) // a worker that was away may be back under its name
			continue
		}
		begun, err := r.attempt(ctx, id, req, send)
		done()
		if err == nil || ctx.Err() != nil {
			return err
		}
		tried[id] = true
		lost, absent := errors.Is(err, bus.ErrLost), errors.Is(err, bus.ErrNoResponders)
		if lost || absent {
			r.table.remove(id)
		}
		if lost {
			losses++
		}
		switch {
		case begun && lost:
			return &job.Error{Class: job.Infrastructure, Code: job.CodeWorkerLost, Message: fmt.Sprintf("worker %s ended in the middle of the answer", id), Next: "send the request again"}
		case begun:
			return err
		case losses > maxLosses:
			return job.BugError("answer the request", fmt.Errorf("%d workers have ended over it, the last one is %s: %w", losses, id, err))
		case lost, absent:
		case elsewhere(err):
			refused = err
		case errors.Is(err, bus.ErrSilent):
			return job.InfrastructureError(job.CodeNotReady, "answer the request", err)
		default:
			return err
		}
		r.log.Info("a request goes to another worker", "worker", id, "request", req.GetId(), "reason", err)
	}
}

// Ask is Chat as a sequence of chunks, like bus.Bus.Chat.
func (r *Router) Ask(ctx context.Context, req *pb.ChatRequest) iter.Seq2[*pb.ChatChunk, error] {
	return bus.ChatHandler(r.Chat).Chunks(ctx, req)
}

// errCut is an answer that ended without its last chunk.
var errCut = fmt.Errorf("the answer ended without its end: %w", bus.ErrLost)

// attempt has one worker answer and passes its chunks on; begun tells whether the requester has got one.
func (r *Router) attempt(ctx context.Context, id string, req *pb.ChatRequest, send func(*pb.ChatChunk) error) (begun bool, err error) {
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if err := r.bus.WatchWorker(asking, id); err != nil {
			cancel(err)
		}
	}()
	ended := false
	for chunk, err := range r.bus.Chat(asking, bus.WorkerSubject(id), req, silence) {
		if err != nil {
			if cause := context.Cause(asking); cause != nil && ctx.Err() == nil {
				err = cause
			}
			return begun, err
		}
		if err := send(chunk); err != nil {
			return true, err
		}
		begun, ended = true, chunk.GetUsage() != nil // with the last chunk of the last of n choices
	}
	if !ended && ctx.Err() == nil {
		return begun, errCut
	}
	return begun, ctx.Err()
}

// wait waits for a worker to appear, until the patience ends.
func (r *Router) wait(ctx context.Context, patience time.Time, changed <-chan struct{}) error {
	if r.waiting.Add(1) > int64(r.cfg.MaxWaiting) {
		r.waiting.Add(-1)
		return job.RefusedError(job.CodeOverloaded, fmt.Sprintf("no inference worker is there, and %d requests wait for one already", r.cfg.MaxWaiting), "try again later", retryAfter)
	}
	defer r.waiting.Add(-1)
	timer := time.NewTimer(time.Until(patience))
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return job.RefusedError(job.CodeNoWorker, fmt.Sprintf("no inference worker takes requests, and none came within %s", r.cfg.Wait),
			"start one (`descant inference`), or try again when one is up", retryAfter)
	}
}

// elsewhere tells whether another worker may do what this one has refused. One that had the request wait until its time
// was over has used up the time of the others, too.
func elsewhere(err error) bool {
	var refused *bus.Failure
	return errors.As(err, &refused) && refused.Detail.GetClass() == string(job.Infrastructure) && refused.Detail.GetCode() != string(job.CodeQueueTimeout)
}
