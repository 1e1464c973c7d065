package inference

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"descant/pkg/chat"
	"descant/pkg/generate"
	"descant/pkg/grammar"
	"descant/pkg/pb"
	"descant/pkg/tokenizer"
)

// prepared is a request in tokens, with nothing wrong in it.
type prepared struct {
	first     generate.Request   // of the first choice
	automaton *grammar.Automaton // of the constraint, nil for none
}

// prepare checks a request as a whole and brings it into tokens. It takes no row and no slot: what is wrong is told at once,
// however many wait, and nobody waits behind it.
func (s *Service) prepare(t target, req *pb.ChatRequest, messages []chat.Message, tools []byte) (q prepared, err error) {
	prompt, err := t.model.text.promptOf(req, messages, tools)
	if err != nil {
		return q, err
	}
	if q.first, q.automaton, err = t.model.text.request(req, t.key, prompt); err != nil {
		return q, err
	}
	q.first.Speculation = s.cfg.speculation()
	most := t.model.engine.MaxContext()
	if room := most - len(prompt); q.first.MaxTokens == 0 && room > 0 {
		q.first.MaxTokens = min(max(s.cfg.MaxTokens, q.first.MinTokens), room)
	}
	return q, q.first.Fits(most)
}

// generate streams the answer, or all n of them, of one model.
func (s *Service) generate(ctx context.Context, t target, req *pb.ChatRequest, q prepared, send func(*pb.ChatChunk) error) error {
	a := &answer{open: max(1, int(req.GetN())), usage: &pb.Usage{PromptTokens: uint32(len(q.first.Prompt))}, send: func(chunk *pb.ChatChunk) error {
		chunk.Id, chunk.Model, chunk.Worker = req.GetId(), t.name, s.deps.Worker
		return send(chunk)
	}}
	group, ctx := errgroup.WithContext(ctx)
	for index := range a.open {
		c := &choice{answer: a, index: uint32(index), text: t.model.text.tokenizer, minTokens: q.first.MinTokens, withLogprobs: q.first.Logprobs,
			stream: t.model.text.tokenizer.NewStream(), stops: stopper{stops: req.GetStop()}}
		one := q.first
		one.Sampling.Seed += uint64(index)
		if q.automaton != nil {
			one.Constraint = q.automaton.Start()
		}
		group.Go(func() error { return c.run(ctx, t.model.engine, one) })
	}
	return group.Wait()
}

// answer is what the choices of one request share.
type answer struct {
	mu    sync.Mutex
	open  int // choices that have not ended
	usage *pb.Usage
	send  func(*pb.ChatChunk) error
}

func (a *answer) chunk(chunk *pb.ChatChunk) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.send(chunk)
}

// last sends the last chunk of a choice, and with the last of all what was used.
func (a *answer) last(chunk *pb.ChatChunk, finish generate.Finish) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	chunk.FinishReason = finish.Reason
	a.usage.CompletionTokens += uint32(finish.CompletionTokens)
	if chunk.GetIndex() == 0 {
		a.usage.CachedTokens = uint32(finish.CachedTokens)
	}
	if a.open--; a.open == 0 {
		a.usage.TotalTokens = a.usage.PromptTokens + a.usage.CompletionTokens
		chunk.Usage = a.usage
	}
	return a.send(chunk)
}

// choice is one of the n answers while it is given.
type choice struct {
	*answer
	index     uint32
	text      *tokenizer.Tokenizer
	stream    *tokenizer.Stream
	stops     stopper
	minTokens int
	// withLogprobs says that tokens come with them.
	withLogprobs bool

	tokens int
	// decoded and sent count bytes of text.
	decoded, sent int
	// held are the tokens with logprobs whose text is not sent yet.
	held []heldToken
}

// heldToken is a token whose text ends at byte end of the answer.
type heldToken struct {
	end       int
	described *pb.TokenLogprob
}

var errStopText = errors.New("a stop text was found")

// run has the engine generate the choice and sends its text.
func (c *choice) run(ctx context.Context, e engine, request generate.Request) error {
	finish, err := e.Generate(ctx, request, c.token)
	stopped := errors.Is(err, errStopText)
	if err != nil && !stopped {
		return err
	}
	if stopped {
		finish.Reason, finish.CompletionTokens = generate.ReasonStop, c.tokens
		return c.last(&pb.ChatChunk{Index: &c.index, Logprobs: c.logprobs()}, finish)
	}
	text, hit := c.stops.push(c.stream.Flush())
	c.sent += len(text)
	if hit {
		finish.Reason = generate.ReasonStop
	} else {
		text, c.sent = text+c.stops.flush(), math.MaxInt
	}
	return c.last(&pb.ChatChunk{Index: &c.index, Delta: text, Logprobs: c.logprobs()}, finish)
}

// token takes the next token and sends the text that is certain by it.
func (c *choice) token(token generate.Token) error {
	c.tokens++
	fresh := c.stream.Push(token.ID)
	if c.withLogprobs {
		// What has no text yet begins a character: it goes with what comes behind it.
		c.held = append(c.held, heldToken{c.decoded + max(1, len(fresh)), c.describe(token)})
	}
	c.decoded += len(fresh)
	var text string
	var hit bool
	if c.tokens < c.minTokens {
		text = c.stops.flush() + fresh
	} else {
		text, hit = c.stops.push(fresh)
	}
	c.sent += len(text)
	if text != "" {
		if err := c.chunk(&pb.ChatChunk{Index: &c.index, Delta: text, Logprobs: c.logprobs()}); err != nil {
			return err
		}
	}
	if hit {
		return errStopText
	}
	return nil
}

// logprobs takes the tokens whose whole text is sent. One of which a stop text left only a part is never sent: it would
// tell the beginning of the stop text.
func (c *choice) logprobs() (out []*pb.TokenLogprob) {
	for len(c.held) > 0 && c.held[0].end <= c.sent {
		out = append(out, c.held[0].described)
		c.held = c.held[1:]
	}
	return out
}

// describe writes a token with its log-probabilities for people.
func (c *choice) describe(token generate.Token) *pb.TokenLogprob {
	one := func(id int32, logprob float64) *pb.TokenLogprob {
		data := c.text.TokenBytes(id)
		out := &pb.TokenLogprob{Id: id, Token: strings.ToValidUTF8(string(data), "\uFFFD"), Logprob: logprob}
		for _, b := range data {
			out.Bytes = append(out.Bytes, uint32(b))
		}
		return out
	}
	out := one(token.ID, token.Logprob)
	for _, top := range token.Top {
		out.TopLogprobs = append(out.TopLogprobs, one(top.ID, top.Logprob))
	}
	return out
}

// whole holds the text of each choice back until the chunk that ends it.
func whole(send func(*pb.ChatChunk) error) func(*pb.ChatChunk) error {
	kept := map[uint32]*pb.ChatChunk{}
	return func(chunk *pb.ChatChunk) error {
		if before := kept[chunk.GetIndex()]; before != nil {
			chunk.Delta, chunk.Logprobs = before.GetDelta()+chunk.GetDelta(), append(before.GetLogprobs(), chunk.GetLogprobs()...)
		}
		if chunk.GetFinishReason() == "" {
			kept[chunk.GetIndex()] = chunk
			return nil
		}
		return send(chunk)
	}
}
