package front

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// starts are where the open-ended requests of clients for blobs begin, while one of them
// is under way. containerd 2 fetches a layer in parallel by such requests, reads a chunk
// of each and hangs up (core/remotes/docker, fetcher.go); the sockets hold megabytes
// by then, which nothing reads: 32 to 44 % of an image in chunks of 4 MiB, and 1 % with
// this (e2e.TestChunksOfALargeImage). They are safe for concurrent use.
type starts struct {
	mu sync.Mutex
	m  map[startsKey]*startsOf
}

type startsKey struct {
	client netip.Addr
	digest digest.Digest
}

// startsOf are those of one client for one blob.
type startsOf struct {
	underway int
	at       []int64 // sorted
}

// maxStarts bounds what is kept of one blob: their distance shows in the first few.
const maxStarts = 64

// enter notes a request that begins at from. leave must be called when it is over.
func (s *starts) enter(k startsKey, from int64) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.m[k]
	if of == nil {
		if s.m == nil {
			s.m = map[startsKey]*startsOf{}
		}
		of = &startsOf{}
		s.m[k] = of
	}
	of.underway++
	if i, known := slices.BinarySearch(of.at, from); !known && len(of.at) < maxStarts {
		of.at = slices.Insert(of.at, i, from)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if of.underway--; of.underway == 0 {
			delete(s.m, k)
		}
	}
}

// chunk is the least distance of two starts, which is how much the client reads of each,
// or 0 while there is only one.
func (s *starts) chunk(k startsKey) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.m[k]
	least := int64(0)
	if of == nil {
		return 0
	}
	for i := 1; i < len(of.at); i++ {
		if d := of.at[i] - of.at[i-1]; least == 0 || d < least {
			least = d
		}
	}
	return least
}

// hangUpTime is how long an answer waits where the client's chunk seems to end for the
// client to hang up. One that wants the rest loses that once.
const hangUpTime = 300 * time.Millisecond

// A chunkEnd is where a client seems to hang up, of one answer.
type chunkEnd struct {
	starts *starts
	time   time.Duration // to wait; hangUpTime but in tests
	key    startsKey
	sent   int64           // of the answer
	gone   <-chan struct{} // closed when the client has hung up
}

// left is how many bytes lie before the chunk's end: 0 at the end, or where nothing is
// known yet and nothing sent, and less beyond it.
func (c *chunkEnd) left() int64 { return c.starts.chunk(c.key) - c.sent }

// wait waits for the client to hang up, and reports whether it did.
func (c *chunkEnd) wait() bool {
	timer := time.NewTimer(c.time)
	defer timer.Stop()
	select {
	case <-c.gone:
		return true
	case <-timer.C:
		return false
	}
}
