package gateway

import (
	"context"

	"descant/pkg/registry"
)

// pinParent replaces the reference of init_from by the digest that it stands for now, which becomes part of the job's
// id: when an alias moves or a version is added, the same words are another job.
func (g *Gateway) pinParent(ctx context.Context, ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	found, err := g.deps.Registry.Resolve(ctx, ref)
	if err != nil {
		return "", err
	}
	return registry.Reference{Name: found.Name, Digest: found.Version.GetDigest()}.String(), nil
}
