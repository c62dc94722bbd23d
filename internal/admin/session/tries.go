package session

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// maxTries is how many wrong tokens an address may send within tryWindow.
	maxTries  = 5
	tryWindow = time.Minute

	// maxAddresses is of how many addresses the tries are counted. With more, all
	// have to wait: to forget one would be to let it guess on.
	maxAddresses = 4096
)

// Tries counts the wrong tokens of each address. Its zero value is ready, and it is
// safe for concurrent use.
type Tries struct {
	mu    sync.Mutex
	wrong map[netip.Addr][]time.Time // within tryWindow, oldest first
}

// Wait returns how long the address has to wait until its next try is looked at; 0 if
// it need not.
func (t *Tries) Wait(addr netip.Addr) time.Duration {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	times := t.recentLocked(site(addr), now)
	switch {
	case len(times) >= maxTries:
		return times[0].Add(tryWindow).Sub(now)
	case len(times) == 0 && t.fullLocked(now):
		return tryWindow
	}
	return 0
}

// Wrong counts a wrong token.
func (t *Tries) Wrong(addr netip.Addr) {
	addr = site(addr)
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrong == nil {
		t.wrong = map[netip.Addr][]time.Time{}
	}
	t.wrong[addr] = append(t.recentLocked(addr, now), now)
}

// recentLocked returns the times of addr that still count.
func (t *Tries) recentLocked(addr netip.Addr, now time.Time) []time.Time {
	times := t.wrong[addr]
	for len(times) > 0 && now.Sub(times[0]) >= tryWindow {
		times = times[1:]
	}
	return times
}

// fullLocked reports whether there is no place for another address, after it has
// forgotten those of which nothing counts any more.
func (t *Tries) fullLocked(now time.Time) bool {
	if len(t.wrong) < maxAddresses {
		return false
	}
	for addr := range t.wrong {
		if len(t.recentLocked(addr, now)) == 0 {
			delete(t.wrong, addr)
		}
	}
	return len(t.wrong) >= maxAddresses
}

// site is the address that is counted: of IPv6 the network of 64 bits, which one
// machine has all addresses of.
func site(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}
