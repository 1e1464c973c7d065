package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
)

func (a *app) jobsCommand() *cobra.Command {
	var state string
	var limit uint32
	list := a.command(&cobra.Command{
		Use: "list", Short: "List jobs, newest first",
		Example: "  descant jobs list\n  descant jobs list --state training --json",
	}, "bus", func(ctx context.Context, _ []string) error {
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error { return a.listJobs(ctx, b, state, limit) })
	})
	list.Flags().StringVar(&state, "state", "", "only jobs in this state")
	list.Flags().Uint32Var(&limit, "limit", 0, "most jobs to list (default 100)")

	show := a.command(&cobra.Command{
		Use: "show ID", Short: "Show a job", Args: exactArgs(1),
		Example: "  descant jobs show ft-1a2b3c   (a beginning of the id is enough)",
	}, "bus", func(ctx context.Context, args []string) error {
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error {
			var view pb.JobView
			if err := b.Call(ctx, "finetune.jobs.get", &pb.GetJobRequest{Id: args[0]}, &view); err != nil {
				return gatewayError(err)
			}
			return a.showJob(&view)
		})
	})

	watch := a.command(&cobra.Command{
		Use: "watch ID", Short: "Replay what happened to a job and follow it", Args: exactArgs(1),
		Long: `Replay what happened to a job and follow it until it ends. On a terminal the losses of training and evaluation are
drawn as a curve that moves; where stdout is no terminal every event is a line or, with --json, an object.`,
		Example: "  descant jobs watch ft-1a2b3c\n  descant jobs watch ft-1a2b3c --json | jq .step.loss",
	}, "bus blob", func(ctx context.Context, args []string) error {
		ctx, _, release := lifecycle.Signals(ctx)
		defer release()
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error {
			var view pb.JobView
			if err := b.Call(ctx, "finetune.jobs.get", &pb.GetJobRequest{Id: args[0]}, &view); err != nil {
				return gatewayError(err)
			}
			return a.watch(ctx, &system{bus: b}, view.GetId(), 0, a.newWatch())
		})
	})
	return group("jobs", "List, show, watch and control jobs", "  descant jobs list\n  descant jobs cancel ft-1a2b3c",
		list, show, watch,
		a.controlCommand("cancel", "Cancel a job", `Cancel a job. What it has trained is dropped; the same request sent again starts anew.`),
		a.controlCommand("pause", "Pause a job at a checkpoint", `Pause a job that waits for a trainer or trains. The step that runs is finished and stored as a checkpoint,
and the trainer is free for other jobs. The job stays paused, also when everything is restarted, until
`+"`descant jobs resume`"+`.`),
		a.controlCommand("resume", "Let a paused job go on", `Let a paused job go on from its checkpoint, on whichever trainer is free: its adapter has the same bytes
as that of a job that was not paused.`))
}

// controlCommand asks the gateway to do something with a job.
func (a *app) controlCommand(action, short, long string) *cobra.Command {
	var reason string
	command := "  descant jobs " + action + " ft-1a2b3c"
	c := a.command(&cobra.Command{
		Use: action + " ID", Short: short, Long: long, Args: exactArgs(1),
		Example: command + "   (a beginning of the id is enough)\n" + command + ` --reason "the GPU is needed"` + "\n" + command + " --json | jq -r .state",
	}, "bus", func(ctx context.Context, args []string) error {
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error {
			var view pb.JobView
			if err := b.Call(ctx, "finetune.jobs."+action, &pb.CancelJobRequest{Id: args[0], Reason: reason}, &view); err != nil {
				return gatewayError(err)
			}
			text, err := raw(&view)
			if err != nil {
				return err
			}
			return a.print(text, func() { fmt.Fprintf(a.out, "%s is %s\n", view.GetId(), view.GetState()) })
		})
	})
	c.Flags().StringVar(&reason, "reason", "", "why, for the job's events")
	return c
}

// withBus runs a command that needs the bus only.
func (a *app) withBus(ctx context.Context, do func(context.Context, *bus.Bus) error) error {
	log, err := a.logger(true)
	if err != nil {
		return err
	}
	b, err := bus.Connect(ctx, a.clientBus(), log)
	if err != nil {
		return err
	}
	err = do(ctx, b)
	return errors.Join(err, b.Close())
}

func (a *app) listJobs(ctx context.Context, b *bus.Bus, state string, limit uint32) error {
	var reply pb.ListJobsResponse
	if err := b.Call(ctx, "finetune.jobs.list", &pb.ListJobsRequest{State: state, Limit: limit}, &reply); err != nil {
		return gatewayError(err)
	}
	all, err := rawList(reply.GetJobs())
	if err != nil {
		return err
	}
	return a.print(all, func() {
		var rows [][]string
		for _, j := range reply.GetJobs() {
			step, loss := "-", "-"
			if p := j.GetProgress(); p != nil {
				step, loss = fmt.Sprintf("%d/%d", p.GetStep(), p.GetTotal()), fmt.Sprintf("%.4f", p.GetLoss())
			}
			rows = append(rows, []string{j.GetId(), j.GetName(), j.GetState(), step, loss, ago(j.GetCreatedAt().AsTime())})
		}
		a.table([]string{"ID", "NAME", "STATE", "STEP", "LOSS", "AGE"}, rows)
	})
}

func (a *app) showJob(j *pb.JobView) error {
	text, err := raw(j)
	if err != nil {
		return err
	}
	return a.print(text, func() {
		line := func(name, value string) {
			if value != "" {
				fmt.Fprintf(a.out, "%-12s %s\n", name, value)
			}
		}
		spec := j.GetSpec().GetFields()
		line("id", j.GetId())
		line("name", j.GetName())
		line("state", j.GetState())
		line("model", spec["model"].GetStringValue())
		line("dataset", spec["dataset"].GetStringValue())
		if p := j.GetProgress(); p != nil {
			line("step", fmt.Sprintf("%d of %d, loss %.4f, %.0f tok/s", p.GetStep(), p.GetTotal(), p.GetLoss(), p.GetTokensPerSecond()))
		}
		line("checkpoint", checkpointText(j.GetCheckpoint()))
		line("adapter", j.GetArtifacts().GetAdapterRef())
		line("digest", j.GetArtifacts().GetAdapterDigest())
		line("created", ago(j.GetCreatedAt().AsTime())+" ago")
		line("warnings", strings.Join(j.GetWarnings(), "\n             "))
		if e := j.GetError(); e != nil {
			line("error", explain(&bus.Failure{Detail: e}).Error())
		}
	})
}

// checkpointText says how far back a job would begin and where that lies, or "".
func checkpointText(c *pb.Checkpoint) string {
	switch {
	case c == nil:
		return ""
	case c.GetTime() == nil: // an older version stored it and told no more
		return c.GetKey()
	}
	return fmt.Sprintf("step %d, %s ago, %s", c.GetStep(), ago(c.GetTime().AsTime()), c.GetKey())
}
