package generate

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// loop is the one goroutine that runs steps. rows[i] is the sequence in row i of the cache, or nil.
func (e *Engine) loop() {
	defer close(e.stopped)
	rows := make([]*sequence, e.opts.MaxRows)
	for {
		orders, closed := e.takeOrders()
		for _, o := range orders {
			if closed {
				o.done <- ErrClosed
				continue
			}
			o.done <- o.run()
		}
		if closed {
			e.shutDown(rows)
			return
		}
		e.dropCancelled(rows)
		e.admit(rows)
		e.dropLate(rows)
		if !slices.ContainsFunc(rows, func(s *sequence) bool { return s != nil }) {
			<-e.wake
			continue
		}
		e.prefill(rows)
		e.decode(rows)
	}
}

func (e *Engine) takeOrders() ([]order, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	orders := e.orders
	e.orders = nil
	return orders, e.closed
}

// shutDown ends everything and frees the device's memory.
func (e *Engine) shutDown(rows []*sequence) {
	e.mu.Lock()
	waiting := e.waiting.list
	e.waiting.list, e.stats.Rows = nil, 0
	e.mu.Unlock()
	for _, s := range append(waiting, rows...) {
		if s != nil {
			s.end(ErrClosed)
		}
	}
	e.steps.close()
}

// dropCancelled ends the sequences whose caller has gone, in rows and in the queue.
func (e *Engine) dropCancelled(rows []*sequence) {
	for _, s := range rows {
		if s != nil && s.ctx.Err() != nil {
			e.finish(rows, s, context.Cause(s.ctx))
		}
	}
	e.mu.Lock()
	gone := e.waiting.drop(func(s *sequence) error { return context.Cause(s.ctx) })
	e.mu.Unlock()
	for s, err := range gone {
		e.finish(rows, s, err)
	}
}

// dropLate ends the sequences that have waited too long for a row and did not get one now.
func (e *Engine) dropLate(rows []*sequence) {
	if e.opts.MaxWait == 0 {
		return
	}
	now := time.Now()
	e.mu.Lock()
	gone := e.waiting.drop(func(s *sequence) error {
		if waited := now.Sub(s.since); waited >= e.opts.MaxWait {
			return &LateError{Waited: waited, Limit: e.opts.MaxWait}
		}
		return nil
	})
	e.mu.Unlock()
	for s, err := range gone {
		e.finish(rows, s, err)
	}
}

// admit gives free rows to those who wait.
func (e *Engine) admit(rows []*sequence) {
	for _, s := range e.fillRows(rows) {
		if err := e.reuse(rows, s); err != nil {
			e.finish(rows, s, err)
		}
	}
}

// fillRows lists those who got a row.
func (e *Engine) fillRows(rows []*sequence) (fresh []*sequence) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range rows {
		if rows[i] == nil && len(e.waiting.list) > 0 {
			rows[i] = e.waiting.pop()
			rows[i].row = i
			fresh = append(fresh, rows[i])
			e.stats.Rows++
		}
	}
	return fresh
}

// patience is how often a row with a long prompt lets shorter ones go first.
const patience = 4

// prefill runs one chunk of the prompt of one row, if any still has one to run.
func (e *Engine) prefill(rows []*sequence) {
	next := nextPrompt(rows)
	if next == nil {
		return
	}
	before := next.cached
	logits, err := e.steps.prefill(next, longest(rows))
	if err != nil {
		e.fail(rows, []*sequence{next}, err)
		return
	}
	e.count(0, int64(next.cached-before), 0)
	if logits != nil {
		e.remember(next)
		e.take(rows, next, logits)
	}
}

// nextPrompt chooses the row whose prompt goes on: the shortest rest first, so that short questions are not held up by
// long documents, but nobody is passed over for ever.
func nextPrompt(rows []*sequence) (next *sequence) {
	for _, s := range rows {
		if s == nil || !s.prefilling() {
			continue
		}
		if next == nil || s.passed >= patience && s.passed > next.passed ||
			next.passed < patience && len(s.ids)-s.cached < len(next.ids)-next.cached {
			next = s
		}
	}
	for _, s := range rows {
		if s != nil && s != next && s.prefilling() {
			s.passed++
		}
	}
	if next != nil {
		next.passed = 0
	}
	return next
}

// decode runs the newest token of every row that is past its prompt, with a draft where there is one.
func (e *Engine) decode(rows []*sequence) {
	var ready, batch []*sequence
	for _, s := range rows {
		if s != nil && !s.prefilling() {
			ready = append(ready, s)
		}
	}
	for _, s := range ready {
		if rows[s.row] != s {
			return // a draft has failed, and all rows with it
		}
		if draft := e.draft(s, len(ready)); draft == nil || !e.speculate(rows, s, draft) {
			batch = append(batch, s)
		}
	}
	if len(batch) == 0 || rows[batch[0].row] != batch[0] {
		return
	}
	start := time.Now()
	logits, err := e.steps.decode(batch, longest(rows))
	if err != nil {
		e.fail(rows, batch, err)
		return
	}
	if n := len(batch); n <= max(1, e.steps.inTurn) {
		average(&e.pace.token, time.Since(start).Seconds()/float64(n))
	}
	e.count(1, 0, int64(len(batch)))
	for i, s := range batch {
		e.take(rows, s, logits[i])
	}
}

// fail ends the sequences of a step that failed, and if the cache went with it, all that were in there.
func (e *Engine) fail(rows, batch []*sequence, err error) {
	for _, s := range batch {
		e.finish(rows, s, err)
	}
	if !e.steps.cache.lost() {
		return
	}
	for _, s := range rows {
		if s != nil {
			e.finish(rows, s, fmt.Errorf("the step of another request failed, and the cache with it: %w", err))
		}
	}
	// Where even this fails, so does the next step, and it is tried again.
	_ = e.steps.cache.renew()
}

// longest is the number of positions of the cache that hold something.
func longest(rows []*sequence) int {
	most := 0
	for _, s := range rows {
		if s != nil {
			most = max(most, s.cached)
		}
	}
	return most
}

// take samples the next token of a sequence and ends it where that was the last.
func (e *Engine) take(rows []*sequence, s *sequence, logits []float32) (ended bool) {
	if s.req.probe != nil {
		s.req.probe(logits)
		e.finish(rows, s, nil)
		return true
	}
	ended, err := s.take(logits[:e.opts.UsedVocab])
	if ended || err != nil {
		e.finish(rows, s, err)
		return true
	}
	return false
}

// finish frees the row and the adapter of a sequence and wakes its caller.
func (e *Engine) finish(rows []*sequence, s *sequence, err error) {
	if s.row >= 0 {
		e.remember(s)
		rows[s.row] = nil
	}
	e.mu.Lock()
	if s.row >= 0 {
		e.stats.Rows-- // before its caller hears of the end
	}
	if s.adapter != nil {
		s.adapter.users--
		e.adapters.release(s.adapter)
	}
	e.mu.Unlock()
	s.end(err)
}

func (e *Engine) count(steps, prompt, output int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Steps += steps
	e.stats.PromptTokens += prompt
	e.stats.OutputTokens += output
}
