package bus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
)

// guest: a command beside a running system changes nothing of it.
func guest(t *testing.T) {
	server := servertest.StartNATS(t)
	asGuest := bus.Defaults()
	asGuest.URL, asGuest.Guest = server.URL, true
	if _, err := bus.Connect(t.Context(), asGuest, nil); err == nil || !strings.Contains(err.Error(), "no service of descant has run") {
		t.Errorf("a guest of an empty server: %v", err)
	}
	connect(t, server.URL, func(cfg *bus.Config) { cfg.Retention, cfg.AckWait = 0, 2*time.Second })
	b, err := bus.Connect(t.Context(), asGuest, nil)
	must(t, err)
	must(t, b.Close())
	conn, err := nats.Connect(server.URL)
	must(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	must(t, err)
	for name, want := range map[string]time.Duration{"FINETUNE_JOBS": 0, "KV_leases": 2 * time.Second} {
		stream, err := js.Stream(t.Context(), name)
		must(t, err)
		if got := stream.CachedInfo().Config.MaxAge; got != want {
			t.Errorf("%s keeps its messages for %s, the services asked for %s", name, got, want)
		}
	}
}
