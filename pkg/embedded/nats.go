package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

type natsServer struct {
	server *server.Server
	url    string
}

func startNATS(ctx context.Context, dir, address string, log *slog.Logger) (*natsServer, error) {
	address, err := freeAddress("NATS", "nats-addr", address)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "descant",
		Host:       host,
		Port:       number,
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: true,
		NoSigs:     true,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s.SetLoggerV2(natsLog{log.With("server", "nats")}, false, false, false)
	go s.Start()
	if err := awaitNATS(ctx, s); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return &natsServer{s, "nats://" + address}, nil
}

func awaitNATS(ctx context.Context, s *server.Server) error {
	limit := time.Now().Add(30 * time.Second)
	for !s.ReadyForConnections(500 * time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("embedded NATS server: %w", err)
		}
		if !s.Running() || time.Now().After(limit) {
			return errors.New("embedded NATS server did not start; see its log lines above, and check that its folder is writable and the disk is not full")
		}
	}
	if !s.JetStreamEnabled() {
		return errors.New("embedded NATS server runs without JetStream; see its log lines above, and check that its folder is writable and the disk is not full")
	}
	return nil
}

func (n *natsServer) stop() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

// natsLog passes the server's log on, its notices as debug lines.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l natsLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }

// Fatalf only logs: the caller finds out that the server is not ready.
func (l natsLog) Fatalf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
