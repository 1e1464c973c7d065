package train

import (
	"slices"

	"descant/pkg/device"
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// line lays units end to end, of which the first is the longest, with that many lanes for them.
func (b *batches) line(part []int, lanes int) *microBatch {
	s := b.chosenSizes()
	m := &microBatch{rows: 1, width: s.width(b.total(part)), lane: s.lane(b.size(part[0]))}
	m.ids = make([]int32, m.width)
	m.lanes = make([]document, 0, lanes)
	start := 0
	for _, unit := range part {
		first := start
		for _, i := range b.unit(unit) {
			ids, labels := b.rows.Row(i)
			m.place(start, ids, labels)
			m.index = append(m.index, i)
			start += len(ids)
		}
		m.lanes = append(m.lanes, document{first, start - first})
	}
	m.lanes = m.lanes[:lanes] // the last step of an epoch may have fewer units: the rest are empty
	return m
}

// places gives what the layers must know about the places of the tokens: the angles cos and sin [1, width, HeadDim/2],
// and of a line, whose positions begin anew with every document, also what [layerInputs] says of it. p frees those of a line.
func (e *engine) places(p *passed) ([]*model.Array, error) {
	b := p.batch
	if b.lanes == nil {
		cos, sin, err := e.rope(b.width)
		return []*model.Array{cos, sin}, err
	}
	positions := make([]int, b.width)
	for _, d := range b.documents {
		for t := range d.length {
			positions[d.start+t] = t
		}
	}
	cos, sin := e.config.Rope.Tables(positions)
	half := len(e.config.Rope.InvFreq)
	backend := e.compiler.Backend()
	tables := []func() (*model.Array, error){
		func() (*model.Array, error) { return model.Upload(backend, cos, 1, b.width, half) },
		func() (*model.Array, error) { return model.Upload(backend, sin, 1, b.width, half) },
	}
	if device.HasFlash(backend, e.config.HeadDim) {
		tables = append(tables, func() (*model.Array, error) { return model.Upload(backend, b.ranges(), 1, b.width, 2) })
	} else {
		segments, at, back := b.laneTables()
		tables = append(tables,
			func() (*model.Array, error) { return model.Upload(backend, segments, len(b.lanes), b.lane) },
			func() (*model.Array, error) { return model.Upload(backend, at, len(b.lanes), b.lane) },
			func() (*model.Array, error) { return model.Upload(backend, back, b.width) })
	}
	first := len(p.keys)
	for _, table := range tables {
		a, err := table()
		if err != nil {
			return nil, err
		}
		p.keys = append(p.keys, a)
	}
	return p.keys[first:], nil
}

// laneTables gives, for every place of every lane, the number of the token's document from 1 and its place on the line,
// both 0 beyond the lane's unit; and for every place on the line its place in the lanes, -1 beyond the last unit.
func (b *microBatch) laneTables() (segments, at, back []int32) {
	segments, at, back = make([]int32, len(b.lanes)*b.lane), make([]int32, len(b.lanes)*b.lane), make([]int32, b.width)
	for i := range back {
		back[i] = -1
	}
	for i, l := range b.lanes {
		for t := range l.length {
			at[i*b.lane+t], back[l.start+t] = int32(l.start+t), int32(i*b.lane+t)
		}
	}
	for i, d := range b.documents {
		for t := range d.length {
			segments[back[d.start+t]] = int32(i + 1)
		}
	}
	return segments, at, back
}

// ranges gives, for every place on the line, the first one that its token sees and the one behind the last: those of its document up to itself. What is no
// token sees itself.
func (b *microBatch) ranges() []int32 {
	ranges := make([]int32, 2*b.width)
	for i := range b.width {
		ranges[2*i], ranges[2*i+1] = int32(i), int32(i+1)
	}
	for _, d := range b.documents {
		for t := range d.length {
			ranges[2*(d.start+t)] = int32(d.start)
		}
	}
	return ranges
}

// cut takes the lanes out of a line x [1, width, …]: [lanes, lane, …].
func (l layerInputs) cut(x *Node) *Node {
	dims := x.Shape().Dimensions[1:]
	lanes := l.at.Shape().Dimensions
	taken := Gather(Reshape(x, dims[0], x.Shape().Size()/dims[0]), Reshape(l.at, l.at.Shape().Size(), 1))
	return Reshape(taken, slices.Concat(lanes, dims[1:])...)
}

// join writes lanes x [lanes, lane, …] back to a line: [1, width, …], 0 beyond the last unit.
func (l layerInputs) join(x *Node) *Node {
	width := l.back.Shape().Dim(0)
	dims := x.Shape().Dimensions
	places := dims[0] * dims[1]
	at := ExpandAxes(MaxScalar(l.back, 0), 1)
	line := Gather(Reshape(x, places, x.Shape().Size()/places), at)
	filled := ExpandAxes(GreaterOrEqual(l.back, ZerosLike(l.back)), 1)
	line = Where(BroadcastToDims(filled, line.Shape().Dimensions...), line, ZerosLike(line))
	return Reshape(line, slices.Concat([]int{1, width}, dims[2:])...)
}

// attend is the attention of a micro-batch, whose products take a dtype ([model.Attend]): q, k, v [rows, width, heads, HeadDim] to [rows, width, Heads·HeadDim].
func (l layerInputs) attend(dtype dtypes.DType, q, k, v *Node, window int) *Node {
	if l.ranges != nil {
		return model.Flash(dtype, q, k, v, l.ranges, window)
	}
	if l.segments == nil {
		return model.AttendCausal(dtype, q, k, v, model.CausalMask(q.Graph(), q.Shape().Dim(1), window))
	}
	return l.join(model.AttendCausal(dtype, l.cut(q), l.cut(k), l.cut(v), model.IsolatedMask(l.segments, window)))
}

// pullAttend pulls the gradient d of [layerInputs.attend]'s result out back to q, k and v.
func (l layerInputs) pullAttend(dtype dtypes.DType, q, k, v, out, d *Node, window int) (dq, dk, dv *Node) {
	if l.ranges != nil {
		return model.PullFlash(dtype, q, k, v, l.ranges, out, d, window)
	}
	if l.segments == nil {
		mask := model.CausalMask(q.Graph(), q.Shape().Dim(1), window)
		return model.PullAttendCausal(dtype, q, k, v, mask, out, d)
	}
	// What a lane holds beyond its unit has no gradient.
	d = l.cut(d)
	own := GreaterThan(l.segments, ZerosLike(l.segments))
	d = Where(BroadcastToDims(ExpandAxes(own, -1), d.Shape().Dimensions...), d, ZerosLike(d))
	dq, dk, dv = model.PullAttendCausal(dtype, l.cut(q), l.cut(k), l.cut(v), model.IsolatedMask(l.segments, window), l.cut(out), d)
	return l.join(dq), l.join(dk), l.join(dv)
}
