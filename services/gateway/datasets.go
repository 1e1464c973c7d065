package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// datasets is the micro service for stored datasets, in JSON. A dataset itself goes through the object store or HTTP,
// never through a message.
func (g *Gateway) datasets() bus.Service {
	return bus.Service{
		Name: "datasets", Version: g.deps.Version, Description: "stored datasets: list, get, delete, preview, survey",
		Methods: []bus.Method{
			bus.NewMethod("datasets.list", func(ctx context.Context, _ *pb.ListDatasetsRequest) (*pb.ListDatasetsResponse, error) {
				sets, err := g.listDatasets(ctx)
				reply := new(pb.ListDatasetsResponse)
				for _, set := range sets {
					reply.Datasets = append(reply.Datasets, datasetMessage(set))
				}
				return reply, refused(err)
			}),
			bus.NewMethod("datasets.get", func(ctx context.Context, req *pb.DatasetRequest) (*pb.Dataset, error) {
				set, err := g.deps.Registry.Dataset(ctx, req.GetName())
				return datasetMessage(set), refused(err)
			}),
			bus.NewMethod("datasets.delete", func(ctx context.Context, req *pb.DatasetRequest) (*pb.Dataset, error) {
				set, err := g.deps.Registry.DeleteDataset(ctx, req.GetName())
				return datasetMessage(set), refused(err)
			}),
			bus.NewMethod("datasets.preview", g.preview),
			bus.NewMethod("datasets.survey", g.survey),
		},
	}
}

// listDatasets returns all of them, the newest first.
func (g *Gateway) listDatasets(ctx context.Context) ([]registry.Dataset, error) {
	sets, err := g.deps.Registry.Datasets(ctx)
	slices.SortStableFunc(sets, func(a, b registry.Dataset) int { return b.PushedAt.Compare(a.PushedAt) })
	return sets, err
}

func datasetMessage(set registry.Dataset) *pb.Dataset {
	return &pb.Dataset{Name: set.Name, Digest: set.Digest, Size: set.Size, Rows: uint32(set.Rows), File: set.File, PushedAt: bus.Timestamp(set.PushedAt)}
}

// storeDataset checks a file of rows and stores it. Its name is made from its own name and content, so that the same
// file sent twice is one dataset.
func (g *Gateway) storeDataset(ctx context.Context, path, file string) (registry.Dataset, error) {
	in, err := os.Open(path)
	if err != nil {
		return registry.Dataset{}, job.BugError("read the uploaded file", err)
	}
	defer in.Close()
	report, err := dataset.Validate(in, file, dataset.ReadOptions{})
	if err != nil {
		return registry.Dataset{}, rowsError(err)
	}
	sum := sha256.Sum256([]byte(file + "\x00" + report.Digest))
	name := "file-" + hex.EncodeToString(sum[:12])
	// Sent again, perhaps because the first answer got lost, it keeps its time and its place in the list.
	if there, err := g.deps.Registry.Dataset(ctx, name); err == nil && there.Digest == report.Digest {
		return there, nil
	}
	return g.deps.Registry.PushDataset(ctx, name, path, file, report.Rows, time.Now())
}

// rowsError is what is wrong with the rows of a file, as a user error.
func rowsError(err error) error {
	var bad *dataset.ValidationError
	if !errors.As(err, &bad) {
		return job.AsError("check the file", err)
	}
	e := job.UserError(job.CodeBadDataset, fmt.Sprintf("file %s cannot be trained: %d problems in %d rows", bad.File, bad.Total, bad.BadRows), "correct them and upload it again; docs/data.md has the formats")
	for _, p := range bad.Problems {
		reason := p.Found
		if p.Row > 0 {
			reason = fmt.Sprintf("row %d: %s", p.Row, reason)
		}
		e.Problems = append(e.Problems, job.Problem{Field: p.Field, Line: p.Line, Reason: reason, Next: p.Hint})
	}
	if more := bad.Total - len(bad.Problems); more > 0 {
		e.Message += fmt.Sprintf(" (the first %d are listed)", len(bad.Problems))
	}
	return e
}
