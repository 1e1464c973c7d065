package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
)

type s3Server struct {
	address string
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // valid when done is closed
}

// startS3 serves <dir>/s3. It changes the working folder of the process.
func startS3(ctx context.Context, dir, address string, keys keyPair) (*s3Server, error) {
	address, err := freeAddress("S3", "s3-addr", address)
	if err != nil {
		return nil, err
	}
	files, err := objectFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("embedded S3 server: %w", err)
	}
	listening := make(chan struct{})
	run, cancel := context.WithCancel(context.Background())
	s := &s3Server{address: address, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = embedgw.RunVersityGW(run, files, &embedgw.Config{
			RootUserAccess:    keys.AccessKey,
			RootUserSecret:    keys.SecretKey,
			Ports:             []string{address},
			MaxConnections:    4096,
			MaxRequests:       2048,
			MultipartMaxParts: 10_000,
			KeepAlive:         true,
			Quiet:             true,
			IAMService:        auth.NewIAMServiceSingle(auth.Account{Access: keys.AccessKey, Secret: keys.SecretKey, Role: auth.RoleAdmin}),
			S3Options:         []s3api.Option{s3api.WithOnListen(func() { close(listening) })},
		})
	}()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	select {
	case <-listening:
		return s, nil
	case <-s.done:
		err = s.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = errors.New("it did not start within 30 seconds")
	}
	cancel()
	<-s.done
	return nil, fmt.Errorf("embedded S3 server on %s: %w", address, err)
}

// objectFolder opens the folder of buckets, with attributes in the file system
// where it can hold them and in files beside it where it cannot.
func objectFolder(dir string) (backend.Backend, error) {
	root := filepath.Join(dir, "s3")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	attributes := meta.XattrMeta{}
	if attributes.Test(root) == nil {
		return posix.New(root, attributes, posix.PosixOpts{})
	}
	side := filepath.Join(dir, "s3-meta")
	if err := os.MkdirAll(side, 0o700); err != nil {
		return nil, err
	}
	beside, err := meta.NewSideCar(side)
	if err != nil {
		return nil, err
	}
	return posix.New(root, beside, posix.PosixOpts{SideCarDir: side})
}

func (s *s3Server) stop() error {
	s.cancel()
	<-s.done
	return s.err
}
