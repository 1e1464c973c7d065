package registry

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/job"
)

// maxParts bounds how many adapters may be combined.
const maxParts = 8

// Part is one adapter of a combination.
type Part struct {
	Resolved
	// Weight multiplies what the adapter changes.
	Weight float64
}

// Combination is what the model of a request stands for: one adapter, or the weighted sum of several
// on one base. Written a+b, or a*0.7+b@prod*0.3; the weight is 1 where none is given.
type Combination []Part

// IsModel tells whether a text can name adapters at all; anything else is a base.
func IsModel(text string) bool {
	for part := range strings.SplitSeq(text, "+") {
		ref, _, _ := strings.Cut(part, "*")
		name, _, _ := strings.Cut(ref, "@")
		if !job.ValidName(name) {
			return false
		}
	}
	return true
}

// ResolveModel is [Registry.ResolveFor] for a model that may be a combination.
func (r *Registry) ResolveModel(ctx context.Context, text, user string) (Combination, error) {
	parts := strings.Split(text, "+")
	if len(parts) > maxParts {
		return nil, job.UserError(job.CodeBadRequest, fmt.Sprintf("model %q combines %d adapters", text, len(parts)), fmt.Sprintf("combine at most %d", maxParts))
	}
	var c Combination
	for _, part := range parts {
		ref, factor, weighted := strings.Cut(part, "*")
		one := Part{Weight: 1}
		if weighted {
			weight, err := strconv.ParseFloat(factor, 64)
			if err != nil || math.IsNaN(weight) || weight <= 0 || weight > 100 {
				return nil, job.UserError(job.CodeBadRequest, fmt.Sprintf("model %q has the weight %q", text, factor), "give a number above 0 and up to 100, such as a*0.7+b*0.3")
			}
			one.Weight = weight
		}
		var err error
		if one.Resolved, err = r.ResolveFor(ctx, ref, user); err != nil {
			return nil, err
		}
		c = append(c, one)
	}
	return c, c.check(text)
}

// check refuses adapters that cannot be combined.
func (c Combination) check(text string) error {
	for _, one := range c[1:] {
		if first := c[0].Version.GetBaseDigest(); one.Version.GetBaseDigest() != first {
			return job.UserError(job.CodeBadRequest, fmt.Sprintf("model %q combines adapters of two bases: %s is for %s, %s for %s", text,
				c[0].Pinned(), c[0].Version.GetBase(), one.Pinned(), one.Version.GetBase()), "combine adapters of one base")
		}
	}
	return nil
}

// Single tells whether it is one adapter as it is.
func (c Combination) Single() bool { return len(c) == 1 && c[0].Weight == 1 }

// Key identifies what answers: the digest of the adapter, or one of digests and weights. The order of
// the parts does not matter.
func (c Combination) Key() string {
	if c.Single() {
		return c[0].Version.GetDigest()
	}
	parts := strings.Split(c.write(func(one Part) string { return one.Version.GetDigest() }), "+")
	slices.Sort(parts)
	return blob.Digest([]byte("descant combination 1\n" + strings.Join(parts, "\n")))
}

// Digests lists the adapters by their identity.
func (c Combination) Digests() (list []string) {
	for _, one := range c {
		list = append(list, one.Version.GetDigest())
	}
	return list
}

// Pinned names the versions, as people read them: a@3*0.7+b@1*0.3.
func (c Combination) Pinned() string {
	return c.write(func(one Part) string { return one.Pinned() })
}

// Reference names them by digest, as another process must take them.
func (c Combination) Reference() string {
	return c.write(func(one Part) string { return Reference{Name: one.Name, Digest: one.Version.GetDigest()}.String() })
}

func (c Combination) write(name func(Part) string) string {
	var parts []string
	for _, one := range c {
		text := name(one)
		if one.Weight != 1 {
			text += "*" + strconv.FormatFloat(one.Weight, 'g', -1, 64)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "+")
}
