package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamIntake     = "FINETUNE_INTAKE"
	streamJobs       = "FINETUNE_JOBS"
	streamDead       = "FINETUNE_DEAD"
	streamAdvisories = "FINETUNE_ADVISORIES"
	streamMetrics    = "FINETUNE_METRICS"

	bucketLeases   = "leases"
	bucketRegistry = "registry"
	bucketWorkers  = "workers"
	bucketServing  = "serving"

	// workerTTL bounds how long a dead worker is still listed.
	workerTTL = 30 * time.Second
	// advertTTL bounds how long requests may still be sent to a dead worker.
	advertTTL = 9 * time.Second
)

func streams(cfg Config) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name:        streamIntake,
			Description: "fine-tuning requests, each for one gateway",
			Subjects:    []string{SubjectRequest},
			Retention:   jetstream.WorkQueuePolicy,
			Storage:     jetstream.FileStorage,
			Replicas:    cfg.Replicas,
			// A full disk must refuse requests, not forget the oldest.
			Discard: jetstream.DiscardNew,
		},
		{
			Name:               streamJobs,
			Description:        "state, work and events of jobs, changed in atomic batches",
			Subjects:           []string{"finetune.state.>", "finetune.work.>", "finetune.events.>"},
			Retention:          jetstream.LimitsPolicy,
			Storage:            jetstream.FileStorage,
			Replicas:           cfg.Replicas,
			MaxAge:             cfg.Retention,
			AllowAtomicPublish: true,
			AllowDirect:        true,
		},
		{
			Name:        streamDead,
			Description: "messages that no attempt could handle",
			Subjects:    []string{"finetune.dead.>"},
			Storage:     jetstream.FileStorage,
			Replicas:    cfg.Replicas,
			MaxAge:      cfg.Retention,
			AllowDirect: true,
		},
		{
			Name:        streamAdvisories,
			Description: "the server's advisories on messages that were given up",
			Subjects: []string{
				"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.FINETUNE_INTAKE.>",
				"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.FINETUNE_JOBS.>",
				"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.FINETUNE_INTAKE.>",
				"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.FINETUNE_JOBS.>",
			},
			Storage:  jetstream.FileStorage,
			Replicas: cfg.Replicas,
			MaxAge:   7 * 24 * time.Hour,
			MaxMsgs:  100_000,
		},
		{
			Name:        streamMetrics,
			Description: "numbers that services report",
			Subjects:    []string{"metrics.>"},
			Storage:     jetstream.MemoryStorage,
			Replicas:    cfg.Replicas,
			MaxAge:      time.Hour,
			MaxBytes:    64 << 20,
		},
	}
}

// ensure creates or updates every stream and bucket; a guest only finds them.
func (b *Bus) ensure(ctx context.Context) error {
	for _, want := range streams(b.cfg) {
		stream, err := b.ensureStream(ctx, want)
		if err != nil {
			return err
		}
		if want.Name == streamJobs {
			b.jobs = stream
		}
	}
	buckets := []struct {
		to          *jetstream.KeyValue
		name, about string
		ttl         time.Duration
		memory      bool // what it holds is written anew within seconds
	}{
		{&b.leases, bucketLeases, "who works at which job", b.cfg.AckWait, false},
		{&b.registry, bucketRegistry, "adapters: names, versions, aliases", 0, false},
		{&b.workers, bucketWorkers, "workers that are alive", workerTTL, false},
		{&b.serving, bucketServing, "what inference workers can take", advertTTL, true},
	}
	for _, want := range buckets {
		config := jetstream.KeyValueConfig{
			Bucket: want.name, Description: want.about, History: 1, TTL: want.ttl, Replicas: b.cfg.Replicas,
		}
		if want.memory {
			config.Storage = jetstream.MemoryStorage
			config.LimitMarkerTTL = time.Second // who watches hears that a value has expired
		}
		var kv jetstream.KeyValue
		var err error
		if b.cfg.Guest {
			kv, err = b.js.KeyValue(ctx, want.name)
		} else {
			kv, err = b.js.CreateOrUpdateKeyValue(ctx, config)
		}
		if err != nil {
			return fmt.Errorf("key-value bucket %s: %w; compare with `nats kv info %s`", want.name, err, want.name)
		}
		*want.to = kv
	}
	return nil
}

func (b *Bus) ensureStream(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := b.js.Stream(ctx, want.Name)
	if b.cfg.Guest {
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w; no service of descant has run on this server yet: start them, or `descant up`", want.Name, err)
		}
		return stream, nil
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if stream, err = b.js.CreateStream(ctx, want); err == nil {
			return stream, nil
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil, fmt.Errorf("create stream %s: %w", want.Name, err)
		}
		stream, err = b.js.Stream(ctx, want.Name) // another service was quicker
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w; is JetStream enabled on the server?", want.Name, err)
	}
	have := stream.CachedInfo().Config
	if why := fixed(have, want); why != "" {
		return nil, fmt.Errorf("stream %s differs in what cannot be changed: %s; use another NATS account, or save its messages and remove it with `nats stream rm %s`", want.Name, why, want.Name)
	}
	stream, err = b.js.UpdateStream(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("update stream %s: %w; compare with `nats stream info %s`", want.Name, err, want.Name)
	}
	return stream, nil
}

// fixed names the differences that the server could not, or should not without
// a person's decision, update.
func fixed(have, want jetstream.StreamConfig) string {
	switch {
	case have.Retention != want.Retention:
		return fmt.Sprintf("its retention is %s, not %s", have.Retention, want.Retention)
	case have.Storage != want.Storage:
		return fmt.Sprintf("its storage is %s, not %s", have.Storage, want.Storage)
	case have.Sealed:
		return "it is sealed"
	case have.Mirror != nil:
		return "it is a mirror"
	}
	return ""
}
