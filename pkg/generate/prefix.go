package generate

import (
	"container/list"
	"slices"
)

// blockTokens is the number of tokens whose keys and values are kept as one block.
const blockTokens = 32

// prefixes keep the keys and values of prompts and answers after their rows are gone, for requests that begin the
// same way: the next turn of a chat, another chat with the same system prompt. They are held by the adapter's digest,
// since its keys and values are its own. Only the loop uses it.
//
// What is kept is a tree of blocks: a block's place is the tokens before it, so that conversations that begin alike
// share what they have in common. When the memory is used up, the leaf that was used the longest ago goes.
type prefixes struct {
	limit, bytes int64
	roots        map[string]*block // by digest, "" for the base
	// recent are all blocks, the newest use in front; a block is never behind one that follows it.
	recent *list.List
}

// block holds the keys and values of blockTokens tokens.
type block struct {
	parent *block
	digest string // of the adapter; a root is found by it
	ids    []int32
	next   []*block
	// content is [layers, 2, heads, blockTokens, D]; nil in a root.
	content []float32
	place   *list.Element
}

func newPrefixes(limit int64) *prefixes {
	return &prefixes{limit: limit, roots: map[string]*block{}, recent: list.New()}
}

// follow finds the block behind another one.
func (b *block) follow(ids []int32) *block {
	for _, next := range b.next {
		if slices.Equal(next.ids, ids) {
			return next
		}
	}
	return nil
}

// find lists the blocks that ids begin with, of which it leaves at least one token over.
func (p *prefixes) find(digest string, ids []int32) (found []*block) {
	at := p.roots[digest]
	for n := 0; at != nil && n+blockTokens < len(ids); n += blockTokens {
		if at = at.follow(ids[n : n+blockTokens]); at != nil {
			found = append(found, at)
		}
	}
	// The ones at the end first: a block is newer than those that follow it.
	for _, b := range slices.Backward(found) {
		p.recent.MoveToFront(b.place)
	}
	return found
}

// keep adds the blocks that ids fill and that are not held yet; read gives the content of the tokens from a position on.
func (p *prefixes) keep(digest string, ids []int32, read func(from int) []float32) {
	at := p.roots[digest]
	if at == nil {
		at = &block{digest: digest}
		p.roots[digest] = at
	}
	for n := 0; n+blockTokens <= len(ids); n += blockTokens {
		part := ids[n : n+blockTokens]
		next := at.follow(part)
		if next == nil {
			content := read(n)
			next = &block{parent: at, digest: digest, ids: slices.Clone(part), content: content}
			at.next = append(at.next, next)
			next.place = p.recent.PushFront(next)
			p.bytes += 4 * int64(len(content))
		}
		at = next
	}
	p.touch(at)
}

// touch marks a block and those before it as used just now, and drops the oldest until the rest fits.
func (p *prefixes) touch(b *block) {
	for ; b.parent != nil; b = b.parent {
		p.recent.MoveToFront(b.place)
	}
	for p.bytes > p.limit {
		p.drop(p.recent.Back().Value.(*block))
	}
	if len(b.next) == 0 {
		delete(p.roots, b.digest)
	}
}

// drop forgets a block that nothing follows: the oldest one.
func (p *prefixes) drop(b *block) {
	p.recent.Remove(b.place)
	p.bytes -= 4 * int64(len(b.content))
	b.parent.next = slices.DeleteFunc(b.parent.next, func(next *block) bool { return next == b })
	if b.parent.parent == nil && len(b.parent.next) == 0 {
		delete(p.roots, b.digest)
	}
}

// reuse copies what is kept of a sequence's prompt into its row.
func (e *Engine) reuse(rows []*sequence, s *sequence) error {
	if e.prefixes == nil || !e.steps.base.Config.Rope.Fixed(len(s.req.Prompt)) {
		return nil
	}
	found := e.prefixes.find(s.digest(), s.req.Prompt)
	n := len(found) * blockTokens
	if n == 0 {
		return nil
	}
	filled := longest(rows)
	if err := e.steps.resize(max(filled, n), filled); err != nil {
		return err
	}
	for i, b := range found {
		e.steps.cache.writeBlock(s.row, i*blockTokens, b.content)
	}
	e.steps.advance(s, n)
	s.finish.CachedTokens = n
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.CachedTokens += int64(n)
	return nil
}

// remember keeps what a sequence has in its row.
func (e *Engine) remember(s *sequence) {
	if e.prefixes == nil || s.row < 0 || !e.steps.base.Config.Rope.Fixed(len(s.ids)) {
		return
	}
	e.prefixes.keep(s.digest(), s.ids[:s.cached], func(from int) []float32 { return e.steps.cache.readBlock(s.row, from) })
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.CacheBytes = e.prefixes.bytes
}
