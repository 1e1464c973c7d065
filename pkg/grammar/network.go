package grammar

import "errors"

// Limits, so that no request can take the worker's memory.
const (
	// maxNodes bounds the size of a grammar.
	maxNodes = 1 << 18
	// maxDepth is how many calls may be open: how deep free JSON values and references nest.
	maxDepth = 128
	// maxSpots bounds the places where one text may be: a grammar that can be read in more ways is given up.
	maxSpots = 4096
	// never is more than any depth.
	never = 1 << 30
)

var errTooLarge = errors.New("is too large: use smaller bounds for repetitions and lengths")

// node is a place in a network.
type node int32

// network is a recursive transition network over bytes.
type network struct {
	nodes []place
	rules []rule
}

type place struct {
	bytes []byteEdge
	free  []node // edges that take nothing
	calls []call
	final bool // the end of a rule
	// need is how many calls must at least be opened to get from here to the end of the rule.
	need int
}

type byteEdge struct {
	low, high byte
	to        node
}

// call goes through a rule and on at back.
type call struct {
	rule int
	back node
}

type rule struct{ start node }

// part is a piece of a network between two places.
type part struct{ from, to node }

// add makes a place.
func (n *network) add() node {
	n.nodes = append(n.nodes, place{})
	return node(len(n.nodes) - 1)
}

func (n *network) full() bool { return len(n.nodes) > maxNodes }

func (n *network) link(from, to node) { n.nodes[from].free = append(n.nodes[from].free, to) }

func (n *network) bytes(from node, low, high byte, to node) {
	n.nodes[from].bytes = append(n.nodes[from].bytes, byteEdge{low, high, to})
}

// nothing is the part of the empty text.
func (n *network) nothing() part {
	at := n.add()
	return part{at, at}
}

// literal is the part of one text.
func (n *network) literal(text string) part {
	p := n.nothing()
	for i := range len(text) {
		next := n.add()
		n.bytes(p.to, text[i], text[i], next)
		p.to = next
	}
	return p
}

// sequence joins parts.
func (n *network) sequence(parts ...part) part {
	if len(parts) == 0 {
		return n.nothing()
	}
	for i := range parts[1:] {
		n.link(parts[i].to, parts[i+1].from)
	}
	return part{parts[0].from, parts[len(parts)-1].to}
}

// either is a choice between parts.
func (n *network) either(parts ...part) part {
	p := part{n.add(), n.add()}
	for _, one := range parts {
		n.link(p.from, one.from)
		n.link(one.to, p.to)
	}
	return p
}

// maybe is a part that may be left out.
func (n *network) maybe(p part) part { return n.either(p, n.nothing()) }

// repeat is a part any number of times.
func (n *network) repeat(p part) part {
	at := n.add()
	n.link(at, p.from)
	n.link(p.to, at)
	return part{at, at}
}

// define makes a rule of a part and returns its number.
func (n *network) define(p part) int {
	n.rules = append(n.rules, rule{p.from})
	end := n.add()
	n.link(p.to, end)
	n.nodes[end].final = true
	return len(n.rules) - 1
}

// recursive makes a rule whose part may call it: build gets its number before the part is there.
func (n *network) recursive(build func(rule int) part) (rule int) {
	start := n.add()
	rule = n.define(part{start, start})
	end := n.nodes[start].free[0]
	n.nodes[start].free = nil
	p := build(rule)
	n.link(start, p.from)
	n.link(p.to, end)
	return rule
}

// call is the part that goes through a rule.
func (n *network) call(rule int) part {
	p := part{n.add(), n.add()}
	n.nodes[p.from].calls = append(n.nodes[p.from].calls, call{rule, p.to})
	return p
}

// times is a rule low to high times in a row, without a limit for high < 0.
func (n *network) times(rule, low, high int) part {
	p := n.nothing()
	for range low {
		p = n.sequence(p, n.call(rule))
		if n.full() {
			return p
		}
	}
	if high < 0 {
		return n.sequence(p, n.repeat(n.call(rule)))
	}
	end := n.add()
	n.link(p.to, end)
	for range high - low {
		p = n.sequence(p, n.call(rule))
		n.link(p.to, end)
		if n.full() {
			break
		}
	}
	return part{p.from, end}
}

// measure sets need of every place. It says whether the rule can come to an end at all.
func (n *network) measure(start int) bool {
	before := make([][]node, len(n.nodes)) // places whose need follows from that of a place
	for i := range n.nodes {
		p := &n.nodes[i]
		p.need = never
		for _, e := range p.bytes {
			before[e.to] = append(before[e.to], node(i))
		}
		for _, to := range p.free {
			before[to] = append(before[to], node(i))
		}
		for _, c := range p.calls {
			before[c.back] = append(before[c.back], node(i))
			before[n.rules[c.rule].start] = append(before[n.rules[c.rule].start], node(i))
		}
	}
	var changed []node
	for i := range n.nodes {
		if n.nodes[i].final {
			n.nodes[i].need = 0
			changed = append(changed, node(i))
		}
	}
	for len(changed) > 0 {
		at := changed[len(changed)-1]
		changed = changed[:len(changed)-1]
		for _, i := range before[at] {
			if need := n.needOf(i); need < n.nodes[i].need {
				n.nodes[i].need = need
				changed = append(changed, i)
			}
		}
	}
	return n.nodes[n.rules[start].start].need < maxDepth
}

func (n *network) needOf(i node) int {
	p := &n.nodes[i]
	need := never
	if p.final {
		need = 0
	}
	for _, e := range p.bytes {
		need = min(need, n.nodes[e.to].need)
	}
	for _, to := range p.free {
		need = min(need, n.nodes[to].need)
	}
	for _, c := range p.calls {
		need = min(need, max(1+n.nodes[n.rules[c.rule].start].need, n.nodes[c.back].need))
	}
	return need
}
