package train

import "math"

// headSample is a time of the head for a micro-batch, with its chunks and the rows of all of them.
type headSample struct {
	chunks, rows, seconds float64
}

// headCost is what the head costs in seconds: the vocabulary's matrix is read for every chunk, whatever its rows.
type headCost struct {
	perChunk, perRow float64
}

// cost is that of chunks with so many rows in all.
func (c headCost) cost(chunks int, rows int64) float64 {
	return c.perChunk*float64(chunks) + c.perRow*float64(rows)
}

// fitHead finds the costs that leave the least squares between the samples and what they say, none below 0. Samples that are
// all of one shape can't tell the two apart: they are laid on the rows.
func fitHead(samples []headSample) headCost {
	var cc, cr, rr, ct, rt float64
	for _, s := range samples {
		cc, cr, rr = cc+s.chunks*s.chunks, cr+s.chunks*s.rows, rr+s.rows*s.rows
		ct, rt = ct+s.chunks*s.seconds, rt+s.rows*s.seconds
	}
	if rr == 0 {
		return headCost{}
	}
	candidates := []headCost{{perRow: rt / rr}}
	if det := cc*rr - cr*cr; det > 1e-9*cc*rr {
		candidates = append(candidates, headCost{perChunk: ct / cc}, headCost{(ct*rr - rt*cr) / det, (rt*cc - ct*cr) / det})
	}
	best, least := headCost{}, math.Inf(1)
	for _, c := range candidates {
		off := 0.0
		for _, s := range samples {
			d := c.perChunk*s.chunks + c.perRow*s.rows - s.seconds
			off += d * d
		}
		if c.perChunk >= 0 && c.perRow >= 0 && off < least {
			best, least = c, off
		}
	}
	return best
}
