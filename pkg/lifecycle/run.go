package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Causes of the end of the contexts that services run under.
var (
	// ErrStopping: the process stops; take no new work.
	ErrStopping = errors.New("stopping")
	// ErrGraceOver: the time for running work is over.
	ErrGraceOver = errors.New("the time to finish is over")
)

// Service is one thing that a process runs.
type Service struct {
	Name string
	// Run works until ctx ends, finishes what is running under Working(ctx) and
	// returns nil. Returning earlier ends the whole set: with an error because
	// something is broken, with nil because the work is done.
	Run func(ctx context.Context) error
}

// Runner runs services and stops them together.
type Runner struct {
	// Grace is how long running work may go on after the stop. Defaults to 30s.
	Grace time.Duration
	// Hurry, when it delivers, ends the grace at once. Defaults to never.
	Hurry <-chan struct{}
	// Log tells of starts and stops. Defaults to silence.
	Log *slog.Logger
}

// Run starts all services and returns when all have ended: the errors of those
// that failed, or nil. The first that ends, or the end of ctx, stops all.
func (r Runner) Run(ctx context.Context, services ...Service) error {
	if r.Grace <= 0 {
		r.Grace = 30 * time.Second
	}
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	// Running work outlives ctx, but not by more than the grace.
	working, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abandon(nil)
	taking, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	ended := make(chan struct{})
	errs := make([]error, len(services))
	var wg sync.WaitGroup
	for i, s := range services {
		wg.Go(func() {
			defer stop(ErrStopping)
			r.Log.Debug("service starts", "service", s.Name)
			if err := s.Run(WithWorking(taking, working)); err != nil && !stopped(taking, err) {
				r.Log.Error("service failed", "service", s.Name, "error", err)
				errs[i] = fmt.Errorf("%s: %w", s.Name, err)
			}
			r.Log.Debug("service ended", "service", s.Name)
		})
	}
	go func() {
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return errors.Join(errs...)
	case <-taking.Done():
	}
	r.Log.Debug("stopping", "cause", context.Cause(taking), "grace", r.Grace)
	timer := time.NewTimer(r.Grace)
	defer timer.Stop()
	select {
	case <-ended:
		return errors.Join(errs...)
	case <-timer.C:
		r.Log.Warn("the grace is over, cancelling what still runs", "grace", r.Grace)
	case <-r.Hurry:
		r.Log.Warn("told to hurry, cancelling what still runs")
	}
	abandon(ErrGraceOver)
	<-ended
	return errors.Join(errs...)
}

// stopped tells whether err only says that the service was stopped.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ErrStopping) || errors.Is(err, ErrGraceOver))
}

// Signals returns a context that ends at the first SIGINT or SIGTERM, and a
// channel that delivers at the second, for [Runner.Hurry]; a third ends the
// process. release gives the signals back.
func Signals(parent context.Context) (ctx context.Context, hurry <-chan struct{}, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	again, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		select {
		case s := <-signals:
			cancel(fmt.Errorf("%w: %s", ErrStopping, s))
		case <-done:
			return
		}
		select {
		case <-signals:
			signal.Stop(signals) // from now on a signal has its usual effect
			close(again)
		case <-done:
		}
	}()
	return ctx, again, func() {
		once.Do(func() {
			signal.Stop(signals)
			close(done)
			cancel(nil)
		})
	}
}
