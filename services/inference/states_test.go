package inference

import (
	"fmt"
	"testing"

	"descant/pkg/pb"
	"descant/pkg/registry"
)

func resolved(name string, version uint32) registry.Resolved {
	return registry.Resolved{Name: name, Version: &pb.AdapterVersion{Version: version, Digest: fmt.Sprintf("sha256:%s-%d", name, version)}}
}

func TestStates(t *testing.T) {
	t.Parallel()
	told := 0
	s := newStates(func() { told++ }, newPins())
	s.set(resolved("b", 1), statePending, "")
	s.set(resolved("a", 2), stateReady, "")
	s.set(resolved("a", 1), stateFailed, "why")
	s.set(resolved("a", 1), stateFailed, "why") // nothing new
	if told != 3 {
		t.Errorf("3 changes were told %d times", told)
	}
	list := s.list(func(string) bool { return true })
	if len(list) != 3 || list[0].GetDigest() != "sha256:a-1" || list[0].GetReason() != "why" || list[1].GetState() != stateReady || list[2].GetName() != "b" {
		t.Errorf("list = %v", list)
	}
	s.forget("sha256:b-1")
	for i := range maxFailed + 10 {
		s.set(resolved("bad", uint32(i+1)), stateFailed, "why")
	}
	list = s.list(func(string) bool { return true })
	if len(list) != maxFailed+1 {
		t.Errorf("%d states are told, want the ready one and %d failures", len(list), maxFailed)
	}
	if last := list[len(list)-1]; last.GetVersion() != maxFailed+10 || list[0].GetState() != stateReady {
		t.Errorf("the newest failure is %v, the ready one %v", last, list[0])
	}
}
