package simnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
)

// The bytes of SOCKS5 (RFC 1928) and of its username/password login (RFC 1929).
const (
	socksVersion     = 5
	socksNoAuth      = 0
	socksUserPass    = 2
	socksNoMethod    = 0xff
	socksConnect     = 1
	socksIPv4        = 1
	socksName        = 3
	socksIPv6        = 4
	socksOK          = 0
	socksFailure     = 1
	socksNotAllowed  = 2
	socksUnreachable = 4
	socksConnRefused = 5
	socksBadCommand  = 7
)

// AddSOCKSProxy starts a SOCKS5 proxy (CONNECT only) that resolves names
// itself. Each request is an [Entry] of class Connect: Ref and Host are the
// target, Status is 200 or 503, and 407 for a failed login.
func (n *Net) AddSOCKSProxy(cfg ProxyConfig) *Proxy {
	p := &Proxy{cfg: cfg, scheme: "socks5"}
	cfg.HTTP2 = false
	ready := make(chan struct{})
	p.Server = n.start(cfg.Origin, func(c *conn) {
		<-ready
		defer c.Close()
		p.socks(c)
	})
	close(ready)
	return p
}

// socks serves one connection.
func (p *Proxy) socks(c *conn) {
	entry := &Entry{Server: p.name, Method: "CONNECT", Class: Connect, Remote: c.RemoteAddr().String(), Proto: "SOCKS5"}
	rec := p.net.ledger.open(entry)
	defer rec.close()
	login, ok := p.socksLogin(c)
	rec.change(func(e *Entry) { e.Authorization = login })
	if !ok {
		rec.status(407)
		return
	}
	target, ok := socksRequest(c)
	if !ok {
		rec.status(400)
		_ = socksReply(c, socksBadCommand)
		return
	}
	rec.change(func(e *Entry) { e.Ref, e.Host, e.Path = target, target, target })
	switch p.refusal() {
	case ProxyUnreachable:
		rec.status(503)
		_ = socksReply(c, socksUnreachable)
		return
	case ProxyRefused:
		rec.status(503)
		_ = socksReply(c, socksConnRefused)
		return
	case ProxyDenied:
		rec.status(403)
		_ = socksReply(c, socksNotAllowed)
		return
	}
	out, err := p.net.dialFrom(p.net.ctx, "tcp", target, p.cfg.SourceIP)
	if err != nil {
		rec.status(503)
		_ = socksReply(c, socksCode(err))
		return
	}
	rec.status(200)
	if socksReply(c, socksOK) != nil {
		_ = out.Close()
		return
	}
	p.tunnel(c, c, out, rec)
}

// socksLogin negotiates the method and checks the login.
func (p *Proxy) socksLogin(c net.Conn) (login string, ok bool) {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || head[0] != socksVersion {
		return "", false
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(c, methods); err != nil {
		return "", false
	}
	method := byte(socksNoAuth)
	if p.cfg.Username != "" || p.refusal() == ProxyBadLogin {
		method = socksUserPass
	}
	if bytes.IndexByte(methods, method) < 0 {
		_, _ = c.Write([]byte{socksVersion, socksNoMethod})
		return "", false
	}
	if _, err := c.Write([]byte{socksVersion, method}); err != nil || method == socksNoAuth {
		return "", err == nil
	}
	user, password, err := socksUser(c)
	if err != nil {
		return "", false
	}
	ok = p.refusal() != ProxyBadLogin && user == p.cfg.Username && password == p.cfg.Password
	status := byte(socksOK)
	if !ok {
		status = socksFailure
	}
	_, err = c.Write([]byte{1, status})
	return user + ":" + password, ok && err == nil
}

// socksUser reads the request of RFC 1929, section 2.
func socksUser(r io.Reader) (user, password string, err error) {
	var version [1]byte
	if _, err := io.ReadFull(r, version[:]); err != nil {
		return "", "", err
	}
	if user, err = socksString(r); err != nil {
		return "", "", err
	}
	password, err = socksString(r)
	return user, password, err
}

// socksString reads a string with its length in front.
func socksString(r io.Reader) (string, error) {
	var size [1]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", err
	}
	b := make([]byte, size[0])
	_, err := io.ReadFull(r, b)
	return string(b), err
}

// socksRequest reads the target of a CONNECT request (RFC 1928, section 4).
func socksRequest(r io.Reader) (target string, ok bool) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || head[1] != socksConnect {
		return "", false
	}
	var host string
	var err error
	switch head[3] {
	case socksIPv4, socksIPv6:
		ip := make(net.IP, net.IPv4len)
		if head[3] == socksIPv6 {
			ip = make(net.IP, net.IPv6len)
		}
		_, err = io.ReadFull(r, ip)
		host = ip.String()
	case socksName:
		host, err = socksString(r)
	default:
		return "", false
	}
	var port [2]byte
	if err == nil {
		_, err = io.ReadFull(r, port[:])
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:])))), err == nil
}

// socksReply answers the request; the bound address is of no use to a client.
func socksReply(w io.Writer, code byte) error {
	_, err := w.Write([]byte{socksVersion, code, 0, socksIPv4, 0, 0, 0, 0, 0, 0})
	return err
}

// socksCode translates a failed dial.
func socksCode(err error) byte {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return socksUnreachable
	case errors.Is(err, syscall.ECONNREFUSED):
		return socksConnRefused
	}
	return socksFailure
}
