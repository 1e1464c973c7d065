package registry_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"descant/pkg/pb"
	"descant/pkg/registry"
)

func TestAliases(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	reg, _ := open(t)
	for i := range 3 {
		if _, err := reg.Publish(ctx, adapterFolder(t, fmt.Sprint("weights ", i)), &pb.AdapterManifest{Name: "a", Job: fmt.Sprint("ft-", i), Base: "m", BaseDigest: "sha256:b"}); err != nil {
			t.Fatal(err)
		}
	}
	stands := func(entry *pb.AdapterEntry, err error, version, canary uint32) {
		t.Helper()
		if err != nil || entry.GetAliases()["prod"] != version || entry.GetCanaries()["prod"].GetVersion() != canary {
			t.Fatalf("prod is %d with canary %v, %v; want %d and %d", entry.GetAliases()["prod"], entry.GetCanaries()["prod"], err, version, canary)
		}
	}
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	_, err := reg.Promote(ctx, "a@1", "prod", 1000)
	refused(err, "stands for nothing yet")
	_, err = reg.Rollback(ctx, "a", "prod")
	refused(err, "has stood for nothing else before")
	_, err = reg.Rollback(ctx, "b", "prod")
	refused(err, `there is no adapter "b"`)
	_, err = reg.Promote(ctx, "a@1", "latest", registry.Whole)
	refused(err, "cannot be set")
	for _, share := range []uint32{0, registry.Whole + 1} {
		_, err = reg.Promote(ctx, "a@1", "prod", share)
		refused(err, "cannot be used")
	}

	entry, err := reg.Promote(ctx, "a@1", "prod", registry.Whole)
	stands(entry, err, 1, 0)
	entry, err = reg.Promote(ctx, "a@2", "prod", 1000)
	stands(entry, err, 1, 2)
	split(t, reg, map[uint32]int{1: 9000, 2: 1000})
	_, err = reg.Promote(ctx, "a@1", "prod", 1000)
	refused(err, "stands for version 1 already")

	tenth := choices(t, reg)
	entry, err = reg.Promote(ctx, "a@2", "prod", 5000)
	stands(entry, err, 1, 2)
	for user, version := range choices(t, reg) {
		if tenth[user] == 2 && version != 2 {
			t.Errorf("%s had version 2 at 10%% and has version %d at 50%%", user, version)
		}
	}
	entry, err = reg.Promote(ctx, "a@2", "prod", registry.Whole)
	stands(entry, err, 2, 0)
	entry, err = reg.Promote(ctx, "a@2", "prod", registry.Whole) // again changes nothing
	stands(entry, err, 2, 0)
	entry, err = reg.Promote(ctx, "a@latest", "prod", 100)
	stands(entry, err, 2, 3)
	entry, err = reg.Rollback(ctx, "a", "prod") // ends the split
	stands(entry, err, 2, 0)
	entry, err = reg.Rollback(ctx, "a", "prod") // undoes the move
	stands(entry, err, 1, 0)
	_, err = reg.Rollback(ctx, "a", "prod")
	refused(err, "has stood for nothing else before")
	if found, err := reg.ResolveFor(ctx, "a@prod", "anna"); err != nil || found.Pinned() != "a@1" {
		t.Errorf("a@prod is %v, %v", found, err)
	}
}

// choices tells which version each of many users gets.
func choices(t *testing.T, reg *registry.Registry) map[string]uint32 {
	t.Helper()
	got := map[string]uint32{}
	for i := range 200 {
		user := fmt.Sprint("user-", i)
		for range 2 { // the same user, the same version
			found, err := reg.ResolveFor(t.Context(), "a@prod", user)
			if err != nil {
				t.Fatal(err)
			}
			if before := got[user]; before != 0 && before != found.Version.GetVersion() {
				t.Errorf("%s got version %d, then %d", user, before, found.Version.GetVersion())
			}
			got[user] = found.Version.GetVersion()
		}
	}
	return got
}

// split checks that users are divided as the weight says: of 200, the tenth is 20, give or take five
// standard deviations.
func split(t *testing.T, reg *registry.Registry, want map[uint32]int) {
	t.Helper()
	counts := map[uint32]int{}
	for version := range maps.Values(choices(t, reg)) {
		counts[version] += 50 // in hundredths of a percent of 200 users
	}
	for version, share := range want {
		if counts[version] < share-1060 || counts[version] > share+1060 {
			t.Errorf("version %d has %d hundredths of a percent of the users, want about %d", version, counts[version], share)
		}
	}
	if found, err := reg.Resolve(t.Context(), "a@prod"); err != nil || found.Version.GetVersion() != 1 {
		t.Errorf("without a request the alias is its stable version: %v, %v", found, err)
	}
}
