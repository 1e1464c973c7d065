package bus_test

import (
	"slices"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// adverts: who watches hears of a new advert, a changed one, one that was taken away, and one that
// expired because nobody renewed it.
func adverts(t *testing.T, b *bus.Bus) {
	put := func(worker string, free uint32) {
		t.Helper()
		must(t, b.PutAdvert(t.Context(), &pb.WorkerAdvert{Id: worker, Ready: true, Bases: []*pb.BaseAdvert{{Digest: "sha256:b", FreeRows: free}}}))
	}
	put("ad-1", 1)
	put("ad-dies", 2)
	var seen []string
	for one, err := range b.WatchAdverts(limited(t)) {
		must(t, err)
		switch {
		case one.Current:
			all, err := b.Adverts(limited(t))
			if err != nil || len(all) != 2 || all[0].GetUpdatedAt() == nil || all[0].GetBases()[0].GetDigest() != "sha256:b" {
				t.Fatalf("%v, %v", all, err)
			}
			put("ad-1", 0)
			continue
		case one.Worker == "ad-1" && one.Info.GetBases() != nil && one.Info.GetBases()[0].GetFreeRows() == 0:
			must(t, b.RemoveAdvert(t.Context(), "ad-1"))
		}
		text := one.Worker
		if one.Info == nil {
			text += " is gone"
		}
		seen = append(seen, text)
		if text == "ad-dies is gone" {
			break
		}
	}
	if want := []string{"ad-1", "ad-dies", "ad-1", "ad-1 is gone", "ad-dies is gone"}; !slices.Equal(seen, want) {
		t.Errorf("seen %v, want %v", seen, want)
	}
	if err := b.PutAdvert(t.Context(), &pb.WorkerAdvert{Id: "a.b"}); err == nil {
		t.Error("an id with a dot was taken")
	}
}
