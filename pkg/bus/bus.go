package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bus is a connection with its streams and buckets in place. It is safe for
// concurrent use.
type Bus struct {
	cfg  Config
	log  *slog.Logger
	conn *nats.Conn
	js   jetstream.JetStream

	// id tells this connection from every other.
	id string
	// running holds the jobs that handlers of this connection work at.
	running sync.Map

	jobs     jetstream.Stream
	leases   jetstream.KeyValue
	registry jetstream.KeyValue
	workers  jetstream.KeyValue
	serving  jetstream.KeyValue
}

// Connect opens a connection and creates or updates the streams and buckets.
// It fails if one of them differs in a way that cannot be updated. After that
// the connection heals itself for ever; [Bus.Ready] tells how it is.
func Connect(ctx context.Context, cfg Config, log *slog.Logger) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	conn, err := nats.Connect(cfg.URL, options(cfg, log)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w; is the server running? (`descant up` starts one, `descant doctor` checks)", cfg.URL, err)
	}
	b := &Bus{cfg: cfg, log: log, conn: conn, id: cfg.Name + "-" + strings.ToLower(rand.Text()[:8])}
	if err := b.open(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return b, nil
}

func options(cfg Config, log *slog.Logger) []nats.Option {
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(cfg.Timeout),
		nats.MaxReconnects(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil is our own Close
				log.Warn("NATS connection lost, reconnecting", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("NATS connection is back", "server", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			log.Error("NATS reports an error", "subject", subject, "error", err)
		}),
	}
	if cfg.User != "" {
		opts = append(opts, nats.UserInfo(cfg.User, cfg.Password.Reveal()))
	}
	if !cfg.Token.Empty() {
		opts = append(opts, nats.Token(cfg.Token.Reveal()))
	}
	if cfg.Credentials != "" {
		opts = append(opts, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.CA != "" {
		opts = append(opts, nats.RootCAs(cfg.CA))
	}
	return opts
}

func (b *Bus) open(ctx context.Context) error {
	js, err := jetstream.New(b.conn, jetstream.WithDefaultTimeout(b.cfg.Timeout))
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	b.js = js
	return b.ensure(ctx)
}

// Ready tells whether the server answers and the jobs stream is there.
func (b *Bus) Ready(ctx context.Context) error {
	if !b.conn.IsConnected() {
		return fmt.Errorf("NATS connection is %s", b.conn.Status())
	}
	if _, err := b.js.Stream(ctx, streamJobs); err != nil {
		return fmt.Errorf("stream %s: %w", streamJobs, err)
	}
	return nil
}

// Close sends what is buffered and closes the connection.
func (b *Bus) Close() error {
	if !b.conn.IsConnected() {
		b.conn.Close() // nobody to send to
		return nil
	}
	err := b.conn.FlushTimeout(b.cfg.Timeout)
	b.conn.Close()
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrConnectionReconnecting) {
		return fmt.Errorf("flush NATS connection: %w", err)
	}
	return nil
}

// flush waits until the server has seen all that was sent.
func (b *Bus) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	return b.conn.FlushWithContext(ctx)
}
