package egress

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// A fakeDNS answers A and AAAA questions from tables, through a resolver that never
// leaves the process.
type fakeDNS struct {
	mu      sync.Mutex
	answers map[string]string // "name." -> IPv4; a name that is missing in both is NXDOMAIN
	six     map[string]string // "name." -> IPv6
	types   []dnsmessage.Type // that were asked for
	broken  bool              // the server cannot be reached
	asked   int
}

func (d *fakeDNS) set(broken bool, answers map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken, d.answers = broken, answers
}

func (d *fakeDNS) queries() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func (d *fakeDNS) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.asked++
		if d.broken {
			return nil, &net.OpError{Op: "dial", Net: "udp", Err: io.ErrClosedPipe}
		}
		client, server := net.Pipe()
		go d.serve(server)
		return client, nil
	}}
}

// serve answers one question in DNS-over-TCP framing, which Go uses on
// connections that are no net.PacketConn.
func (d *fakeDNS) serve(conn net.Conn) {
	defer conn.Close()
	size := readN(conn, 2)
	if len(size) < 2 {
		return
	}
	var m dnsmessage.Message
	if m.Unpack(readN(conn, int(binary.BigEndian.Uint16(size)))) != nil {
		return
	}
	d.mu.Lock()
	name := strings.ToLower(m.Questions[0].Name.String())
	ip, hasFour := d.answers[name]
	ip6, hasSix := d.six[name]
	known := hasFour || hasSix
	d.types = append(d.types, m.Questions[0].Type)
	d.mu.Unlock()
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	if hasSix && m.Questions[0].Type == dnsmessage.TypeAAAA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(ip6).As16()},
		}}
	}
	if hasFour && m.Questions[0].Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(ip).As4()},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return
	}
	conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
}
