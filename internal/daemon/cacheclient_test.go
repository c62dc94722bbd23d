package daemon_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// huge is an image whose layer is too large to be finished without a reader.
var huge = simnet.Image{Repo: "library/huge", Tags: []string{"1"}, Layers: []simnet.Layer{simnet.BigLayer(80<<20, 31)}}

// take reads n bytes of a body and fails the test unless they come and are these.
func (k *kept) take(body io.Reader, want []byte) {
	k.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(body, got); err != nil || !bytes.Equal(got, want) {
		k.t.Fatalf("%d bytes, %v; want %d", n, err, len(want))
	}
}

// F31 The client goes away and little is missing: it is fetched to the end, by the
// request that is under way, and kept.
func TestF31_AbortFinishesCache(t *testing.T) {
	t.Parallel()
	k := newKeptOf(t, large, nil)
	k.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 6 << 20})
	path, content := k.layer()
	resp := k.open(path)
	k.take(resp.Body, content[:100_000])
	resp.Body.Close()
	k.layerStored()
	k.wantAsked("a", http.MethodGet, simnet.Blobs, 1)
	k.wantAsked("b", http.MethodGet, simnet.Blobs, 0)
	k.wantSent(int64(len(content)), 0)
	if n := k.breaker("a", "blob").Failures; n != 0 {
		t.Errorf("a's blob breaker counts %d failures: a client that leaves is none", n)
	}
	k.wantHit()
}

// F31 The client goes away and most is missing: nothing more is fetched, what is
// there is kept, and the next request goes on from there.
func TestF31_AbortSuspendsCache(t *testing.T) {
	t.Parallel()
	k := newKeptOf(t, huge, nil)
	undo := k.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 8 << 20})
	path, content := k.layer()
	resp := k.open(path)
	k.take(resp.Body, content[:3<<20])
	resp.Body.Close()
	k.eventually("the upstream's connections end", func() bool {
		for _, e := range k.net.Ledger().Find(simnet.Filter{Class: simnet.Blobs}) {
			if !e.Done {
				return false
			}
		}
		return true
	})
	k.eventually("it is put away", func() bool { return k.Daemon.Snapshot().Cache.Fills.Active == 0 })
	first, connections := k.sent(), k.asked("", http.MethodGet, simnet.Blobs)
	if first > int64(len(content))/2 {
		t.Errorf("%d bytes were fetched of %d for a client that took 3 MiB and left", first, len(content))
	}
	s := k.Daemon.Snapshot().Cache
	if s.Partial != 1 || s.PartialBytes < 3<<20 || s.Fills.Suspended != 1 {
		t.Errorf("people are told of %d partial blobs with %d bytes, %d fills suspended", s.Partial, s.PartialBytes, s.Fills.Suspended)
	}
	for _, name := range []string{"a", "b"} {
		k.wantOpen(name, "blob")
		if n := k.breaker(name, "blob").Failures; n != 0 {
			t.Errorf("%s's blob breaker counts %d failures: a client that leaves is none", name, n)
		}
	}
	undo()
	k.wantBytes(path, content)
	k.layerStored()
	// A connection that is closed has sent what is not read.
	all := k.asked("", http.MethodGet, simnet.Blobs)
	most := int64(len(content)) + int64(len(content))/20 + int64(connections)*inFlight
	if n := k.sent(); n < int64(len(content)) || n > most {
		t.Errorf("%d bytes were fetched in all, want %d to %d", n, len(content), most)
	}
	t.Logf("%d bytes in %d requests before, %d in %d in all, of %d", first, connections, k.sent(), all, len(content))
	k.wantHit()
}

// F32 A client that reads nothing holds up neither the upstream's connection nor
// the other readers.
func TestF32_SlowClientCache(t *testing.T) {
	t.Parallel()
	k := newKeptOf(t, simnet.Image{Repo: "library/slow", Tags: []string{"1"}, Layers: []simnet.Layer{simnet.BigLayer(40<<20, 32)}}, nil)
	path, content := k.layer()
	slow := k.open(path) // and does not read
	defer slow.Body.Close()
	fast := k.wantBytes(path, content)
	k.layerStored()
	if e := k.net.Ledger().Find(simnet.Filter{Class: simnet.Blobs}); len(e) == 0 || !e[0].Done || e[0].Cut {
		t.Errorf("the upstream's connection is still held, or was cut: %+v", e)
	}
	t.Logf("the fast client took %v for %d bytes", fast.Took, len(content))
	k.wantSent(int64(len(content)), int64(len(content))/20)
	k.wantNoMore("the rest for the slow client", func() {
		if got := readAll(slow); got.Err != nil || !bytes.Equal(got.Body, content) {
			t.Errorf("the slow client got %d bytes, %v", len(got.Body), got.Err)
		}
	})
	k.wantHit()
}
