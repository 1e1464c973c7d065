package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"descant/pkg/lifecycle"
)

// Config says where the embedded servers listen and keep their data.
type Config struct {
	// Dir holds all data. Defaults to the user's data folder, chosen by the caller.
	Dir string `yaml:"dir" flag:"dir" help:"folder for all data of the embedded servers"`
	// NATSAddr is the loopback address of NATS; port 0 takes a free one.
	// Defaults to 127.0.0.1:4222.
	NATSAddr string `yaml:"nats_addr" flag:"nats-addr" help:"address of the embedded NATS server (port 0: any free one)"`
	// S3Addr is the loopback address of S3; port 0 takes a free one. Defaults to
	// 127.0.0.1:9000.
	S3Addr string `yaml:"s3_addr" flag:"s3-addr" help:"address of the embedded S3 server (port 0: any free one)"`
}

// Defaults returns the addresses that everything else defaults to.
func Defaults() Config {
	return Config{NATSAddr: "127.0.0.1:4222", S3Addr: "127.0.0.1:9000"}
}

// Endpoints is what clients need to reach the servers.
type Endpoints struct {
	NATSURL    string // nats://127.0.0.1:4222
	S3Endpoint string // http://127.0.0.1:9000
	AccessKey  string
	SecretKey  lifecycle.Secret
}

// Servers are the two running servers.
type Servers struct {
	Endpoints Endpoints

	home string // working folder before the S3 server changed it
	lock *os.File
	nats *natsServer
	s3   *s3Server
}

// Start starts both servers and returns when they accept connections. Data of
// an earlier run in the same folder is there again. The caller calls Stop.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (_ *Servers, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("embedded servers: no data folder given; use --dir")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded servers: %w", err)
	}
	for flag, address := range map[string]string{"nats-addr": cfg.NATSAddr, "s3-addr": cfg.S3Addr} {
		if err := checkLoopback(flag, address); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded servers: %w", err)
	}
	home, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("embedded servers: %w", err)
	}
	s := &Servers{home: home}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if s.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	keys, err := credentials(filepath.Join(dir, CredentialsFile))
	if err != nil {
		return nil, err
	}
	if s.nats, err = startNATS(ctx, filepath.Join(dir, "nats"), cfg.NATSAddr, log); err != nil {
		return nil, err
	}
	if s.s3, err = startS3(ctx, dir, cfg.S3Addr, keys); err != nil {
		return nil, err
	}
	s.Endpoints = Endpoints{
		NATSURL:    s.nats.url,
		S3Endpoint: "http://" + s.s3.address,
		AccessKey:  keys.AccessKey,
		SecretKey:  lifecycle.NewSecret(keys.SecretKey),
	}
	return s, nil
}

// Failed is closed when the S3 server ended by itself; Stop returns why.
func (s *Servers) Failed() <-chan struct{} { return s.s3.done }

// Stop ends both servers after what they are writing, and returns what went
// wrong with them.
func (s *Servers) Stop() error {
	var errs []error
	if s.s3 != nil {
		errs = append(errs, s.s3.stop(), os.Chdir(s.home))
		s.s3 = nil
	}
	if s.nats != nil {
		s.nats.stop()
		s.nats = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close()) // gives up the lock too
		s.lock = nil
	}
	return errors.Join(errs...)
}

// lockDir keeps a second process off the folder.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("embedded servers: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data folder %s is in use by another descant; stop that one, or give another folder with --dir", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// checkLoopback refuses addresses that others could reach: the embedded NATS
// server asks nobody for a password.
func checkLoopback(flag, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--%s %q is not host:port such as 127.0.0.1:4222", flag, address)
	}
	ip := net.ParseIP(host)
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--%s %s is not a loopback address; the embedded servers are for this machine only, run real NATS and S3 servers for others (docker-compose.yml)", flag, address)
	}
	return nil
}

// freeAddress checks that a port can be taken and chooses one for port 0.
func freeAddress(what, flag, address string) (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return "", fmt.Errorf("cannot start the embedded %s server: %s is in use by another program; stop that one, or choose another port with --%s (port 0 takes a free one)", what, address, flag)
		}
		return "", fmt.Errorf("cannot start the embedded %s server on %s: %w; choose another address with --%s", what, address, err, flag)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
