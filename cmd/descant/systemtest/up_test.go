package systemtest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
	"descant/pkg/pb"
)

// upCommand is `descant up` on free ports with its data in dir.
func upCommand(t *testing.T, dir, nats, s3 string) Command {
	t.Helper()
	http := servertest.FreeAddress(t)
	return Command{Name: "descant up", Args: []string{"up", "--dir", dir, "--nats-addr", nats, "--s3-addr", s3, "--http-addr", http, "--gateway-addr", "127.0.0.1:0"},
		Env: []string{"DESCANT_DEVICE=go"}, Ready: "http://" + http + "/readyz"}
}

func TestUpContinuesWhereItStopped(t *testing.T) {
	t.Parallel()
	dir, nats, s3 := t.TempDir(), servertest.FreeAddress(t), servertest.FreeAddress(t)
	command := upCommand(t, dir, nats, s3)
	first := Start(t, command)
	address := strings.TrimSuffix(strings.TrimPrefix(command.Ready, "http://"), "/readyz")
	if err := Launch(t, Command{Name: "health", Args: []string{"health", "--http-addr", address}}).Wait(t); err != nil {
		t.Errorf("health of a ready system: %v", err)
	}
	keys, err := os.ReadFile(filepath.Join(dir, "s3-credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	withBus(t, nats, func(b *bus.Bus) {
		if err := b.Reject(t.Context(), "left", &pb.Error{Message: "behind"}); err != nil {
			t.Fatal(err)
		}
	})

	busy := Launch(t, upCommand(t, t.TempDir(), nats, servertest.FreeAddress(t)))
	if err := busy.Wait(t); err == nil || !strings.Contains(busy.Output(), nats+" is in use") || !strings.Contains(busy.Output(), "--nats-addr") {
		t.Errorf("a busy port: %v: %s", err, busy.Output())
	}
	locked := Launch(t, upCommand(t, dir, servertest.FreeAddress(t), servertest.FreeAddress(t)))
	if err := locked.Wait(t); err == nil || !strings.Contains(locked.Output(), dir+" is in use") {
		t.Errorf("a folder in use: %v: %s", err, locked.Output())
	}

	first.Stop(t)
	if err := first.Wait(t); err != nil {
		t.Errorf("a stop by SIGTERM: %v", err)
	}
	for _, at := range []string{nats, s3, address} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatalf("%s is still taken after the end: %v", at, err)
		}
		l.Close()
	}
	Start(t, command)
	withBus(t, nats, func(b *bus.Bus) {
		var seen []string
		for event, err := range b.Follow(t.Context(), "left", bus.FollowOptions{Past: true}) {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, event.GetMessage())
		}
		if len(seen) != 1 || seen[0] != "behind" {
			t.Errorf("events after the second start: %q", seen)
		}
	})
	again, err := os.ReadFile(filepath.Join(dir, "s3-credentials.json"))
	if err != nil || string(again) != string(keys) {
		t.Errorf("the second start has other keys: %v", err)
	}
}

func withBus(t *testing.T, nats string, use func(*bus.Bus)) {
	t.Helper()
	cfg := bus.Defaults()
	cfg.URL = "nats://" + nats
	b, err := bus.Connect(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	use(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}
