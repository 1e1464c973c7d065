package servertest

import (
	"net"
	"testing"
)

// TestFreeAddress: no address comes twice, and a server can listen on each.
func TestFreeAddress(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 200 {
		address := FreeAddress(t)
		if seen[address] {
			t.Fatalf("%s comes twice", address)
		}
		seen[address] = true
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
