package front

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/pullchain/pullchain/internal/traffic"
)

// slots keep one client from taking all requests that are served at once. A client alone
// may have all but a reserve; of that, only those that hold few get a slot. So a client
// waits for nothing as long as no other is there to be served, and one that needs little
// is served whatever others hold (docs/faults.md F56). It is safe for concurrent use.
type slots struct {
	max     int
	reserve int               // of max: the last ones
	refused *traffic.Refusals // is told of each
	log     *slog.Logger

	mu      sync.Mutex
	taken   int
	clients map[netip.Addr]int // what each holds; one that holds none is not there
	told    time.Time          // when the log heard of a refusal last
}

// fewSlots is how many requests at once any client may have while there is a slot, however
// few are left: containerd and podman have up to a dozen for the layers of an image and
// their parts (docs/protocol.md 4.3), and leave a mirror that answers 503.
const fewSlots = 12

// toldEvery is how often the log is told of refusals, at most: a line for each would let
// the client that causes them fill the disk as well.
const toldEvery = time.Minute

func newSlots(c Config, refused *traffic.Refusals, log *slog.Logger) *slots {
	return &slots{max: int(c.maxInFlight()), reserve: c.reserveInFlight(), refused: refused, log: log, clients: make(map[netip.Addr]int)}
}

// clientKey is what a client is told from others by: its address, or the network of an
// IPv6 address, of which one machine has all (RFC 4291 2.5.4).
func clientKey(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return prefix.Addr()
}

// enter takes a slot for a client, which leave gives back, or says why there is none.
func (s *slots) enter(client netip.Addr, now time.Time) (refused traffic.Refusal, ok bool) {
	s.mu.Lock()
	held := s.clients[client]
	why := s.closedLocked(client, held)
	if why == "" {
		s.taken++
		s.clients[client] = held + 1
		s.mu.Unlock()
		return traffic.Refusal{}, true
	}
	refused = traffic.Refusal{Why: why, Client: client, Held: held, Taken: s.taken, Max: s.max, At: now}
	tell := now.Sub(s.told) >= toldEvery
	if tell {
		s.told = now
	}
	s.mu.Unlock()
	s.refused.Add(refused)
	if tell {
		s.log.Warn("requests refused: as many are served as may be", "why", string(why), "addr", client.String(), "held", held, "taken", refused.Taken, "max", s.max)
	}
	return refused, false
}

// closedLocked says why a client that holds so many slots gets no other; "" means that it
// gets one. What has no address of its own is many clients: only the whole bounds it.
func (s *slots) closedLocked(client netip.Addr, held int) traffic.Why {
	if s.taken >= s.max {
		return traffic.AllTaken
	}
	if client.IsValid() && s.taken >= s.max-s.reserve && held >= s.shareLocked() {
		return traffic.ClientHasMany
	}
	return ""
}

// shareLocked is how many slots a client may hold to get one of the reserve: a quarter of
// what is free of its first half. The other half stays for clients that hold few, those
// that come later among them. It is never as many as a client could take before.
func (s *slots) shareLocked() int {
	return min(max(fewSlots, (s.max-s.reserve/2-s.taken)/4), s.max-s.reserve)
}

// leave gives back what enter took.
func (s *slots) leave(client netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if held := s.clients[client] - 1; held > 0 {
		s.clients[client] = held
	} else {
		delete(s.clients, client)
	}
}
