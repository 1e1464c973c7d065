package inference

import "testing"

// TestPinnedByTheRegistry: what is pinned there comes into a slot, whether or not a request can get it without naming its version,
// and stays while others come and go; unpinned it goes like any other.
func TestPinnedByTheRegistry(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker(t, "w-1", f.registry, nil) // with two slots
	first, _ := f.publish(t, "a", 0, nil)
	second, _ := f.publish(t, "a", 1, nil)
	f.until(t, "w-1", second.Version.GetDigest(), stateReady)
	others := func(n int) {
		t.Helper()
		for i, name := range []string{"b", "c", "d"} {
			found, answer := f.publish(t, name, n+i, nil)
			f.until(t, "w-1", found.Version.GetDigest(), stateReady)
			f.wants(t, name, answer)
		}
	}
	others(2)
	if _, err := f.registry.Pin(t.Context(), first.Pinned()); err != nil {
		t.Fatal(err)
	}
	if state := f.until(t, "w-1", first.Version.GetDigest(), stateReady); !state.GetPinned() {
		t.Errorf("the advert tells %v", state)
	}
	others(5)
	if state := f.until(t, "w-1", first.Version.GetDigest(), stateReady); !state.GetPinned() {
		t.Errorf("after others have come the advert tells %v", state)
	}
	if _, err := f.registry.Unpin(t.Context(), first.Pinned()); err != nil {
		t.Fatal(err)
	}
	others(8)
	if state := f.until(t, "w-1", first.Version.GetDigest(), stateLoaded); state.GetPinned() {
		t.Errorf("unpinned the advert tells %v", state)
	}
}
