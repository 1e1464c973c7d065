package servertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// given are the ports that [FreeAddress] has returned.
var given sync.Map

// FreeAddress returns a loopback address that nobody listens on, another one each time. Its port is below those that a system takes for whoever asks for any
// (from 32768 on in Linux, from 49152 in others): of those one could be taken, by a connection or another test, before the server listens that it was meant for.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if _, before := given.LoadOrStore(address, true); before {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free loopback port between 10000 and 30000 was found")
	return ""
}
