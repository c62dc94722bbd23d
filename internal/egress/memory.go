package egress

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// How long what was once resolved helps out (docs/faults.md F03).
const (
	keepAddresses = time.Hour        // since the last connection by name
	trustOutage   = 30 * time.Second // after a DNS failure, before DNS is waited for again
	maxAddresses  = 4                // per name
	maxNames      = 256              // names can come from the network, so they are bounded
)

// addressMemory remembers at which addresses a name was last reached, and uses
// them while DNS is out of order. NXDOMAIN is an answer and not an outage.
type addressMemory struct {
	mu    sync.Mutex
	names map[string]*remembered // by "host:port"
}

type remembered struct {
	addresses []string  // "ip:port", latest first
	at        time.Time // of the last connection that DNS helped to
	outage    time.Time // of the last DNS failure; zero if none since at
}

func newAddressMemory() *addressMemory {
	return &addressMemory{names: make(map[string]*remembered)}
}

// dial connects to address by d. The guard of d, if it has one, judges
// remembered addresses like any other.
func (m *addressMemory) dial(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	if known := m.duringOutage(address); known != nil {
		if conn := dialAny(ctx, d, network, known); conn != nil {
			return conn, nil
		}
	}
	conn, err := d.DialContext(ctx, network, address)
	if err == nil {
		m.remember(address, conn.RemoteAddr().String())
		return conn, nil
	}
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || dns.IsNotFound || ctx.Err() != nil {
		return nil, err
	}
	if conn := dialAny(ctx, d, network, m.afterOutage(address)); conn != nil {
		return conn, nil
	}
	return nil, err
}

// dialAny returns the first connection that can be made, or nil.
func dialAny(ctx context.Context, d *net.Dialer, network string, addresses []string) net.Conn {
	for _, a := range addresses {
		if conn, err := d.DialContext(ctx, network, a); err == nil {
			return conn
		}
	}
	return nil
}

// duringOutage returns the addresses of a name for which DNS failed a moment
// ago, so that not every connection waits for it to fail again.
func (m *addressMemory) duringOutage(address string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.names[address]
	if r == nil || time.Since(r.outage) > trustOutage || time.Since(r.at) > keepAddresses {
		return nil
	}
	return slices.Clone(r.addresses)
}

// afterOutage notes that DNS has just failed, and returns what is known.
func (m *addressMemory) afterOutage(address string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.names[address]
	if r == nil || time.Since(r.at) > keepAddresses {
		return nil
	}
	r.outage = time.Now()
	return slices.Clone(r.addresses)
}

func (m *addressMemory) remember(address, reached string) {
	if address == reached {
		return // no name was resolved
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.names[address]
	if r == nil {
		if len(m.names) >= maxNames {
			m.dropOldestLocked()
		}
		r = &remembered{}
		m.names[address] = r
	}
	r.at, r.outage = time.Now(), time.Time{}
	r.addresses = slices.DeleteFunc(r.addresses, func(a string) bool { return a == reached })
	r.addresses = slices.Insert(r.addresses, 0, reached)
	r.addresses = r.addresses[:min(len(r.addresses), maxAddresses)]
}

func (m *addressMemory) dropOldestLocked() {
	var oldest string
	for name, r := range m.names {
		if oldest == "" || r.at.Before(m.names[oldest].at) {
			oldest = name
		}
	}
	delete(m.names, oldest)
}
