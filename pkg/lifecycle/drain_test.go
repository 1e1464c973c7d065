package lifecycle_test

import (
	"context"
	"testing"

	"descant/pkg/lifecycle"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	var d lifecycle.Drain
	for range 2 {
		if !d.Enter() {
			t.Fatal("nothing may run before the stop")
		}
	}
	hurry, cancel := context.WithCancel(t.Context())
	cancel()
	d.Stop(hurry) // returns though two are running
	if d.Enter() {
		t.Error("new work is taken after the stop has begun")
	}
	d.Leave()
	var waited lifecycle.Drain
	waited.Enter()
	ended := make(chan struct{})
	go func() {
		waited.Stop(t.Context())
		close(ended)
	}()
	for waited.Enter() { // until the stop has begun
		waited.Leave()
	}
	select {
	case <-ended:
		t.Error("the stop did not wait")
	default:
	}
	waited.Leave()
	<-ended
	var idle lifecycle.Drain
	idle.Stop(t.Context())
}
