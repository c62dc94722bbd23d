package egress

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/leaktest"
)

// TestMain also looks for goroutines that are left running.
func TestMain(m *testing.M) { leaktest.Main(m) }

// listen serves every connection to a new loopback port with serve, which need
// not close it, and returns the port's address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// refusing returns the address of a port that has no listener. It is the near
// end of a connection, so that no other program is given it meanwhile.
func refusing(t *testing.T) string {
	t.Helper()
	conn, err := net.Dial("tcp", listen(t, func(net.Conn) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// A fakeProxy is an HTTP or SOCKS5 proxy that sends every target to one
// address and writes down what it was asked.
type fakeProxy struct {
	to   string          // where every tunnel leads
	dial func() net.Conn // in place of to
	user string          // login it wants, "user:password"; empty for none

	mu    sync.Mutex
	asked []string // "CONNECT host:port", "GET http://…", "socks host:port"
}

func (p *fakeProxy) note(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, s)
}

func (p *fakeProxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// serveHTTP speaks CONNECT, and answers absolute-form requests itself.
func (p *fakeProxy) serveHTTP(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	p.note(req.Method + " " + req.RequestURI)
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user))
	if p.user != "" && req.Header.Get("Proxy-Authorization") != want {
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return
	}
	if req.Method != http.MethodConnect {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nproxied")
		return
	}
	io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	p.join(conn, r)
}

// serveSOCKS speaks SOCKS5 with addresses by name and IPv4 (RFC 1928, 1929).
func (p *fakeProxy) serveSOCKS(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	methods := readN(r, 2)
	if len(methods) < 2 || len(readN(r, int(methods[1]))) == 0 {
		return
	}
	if p.user == "" {
		conn.Write([]byte{5, 0})
	} else if !p.login(conn, r) {
		return
	}
	head := readN(r, 4)
	if len(head) < 4 {
		return
	}
	host := ""
	switch head[3] {
	case 1:
		host = net.IP(readN(r, 4)).String()
	case 3:
		host = string(readN(r, int(readN(r, 1)[0])))
	}
	port := binary.BigEndian.Uint16(readN(r, 2))
	p.note(fmt.Sprintf("SOCKS %s:%d", host, port))
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	p.join(conn, r)
}

func (p *fakeProxy) login(conn net.Conn, r *bufio.Reader) bool {
	conn.Write([]byte{5, 2})
	head := readN(r, 2)
	if len(head) < 2 || head[0] != 1 {
		return false
	}
	user := string(readN(r, int(head[1])))
	got := user + ":" + string(readN(r, int(readN(r, 1)[0])))
	if got != p.user {
		conn.Write([]byte{1, 1})
		return false
	}
	conn.Write([]byte{1, 0})
	return true
}

func (p *fakeProxy) join(conn net.Conn, r io.Reader) {
	target, err := p.reach()
	if err != nil {
		return
	}
	defer target.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(target, r)
		if half, ok := target.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		} else {
			target.Close()
		}
	}()
	io.Copy(conn, target)
	conn.Close()
	<-done
}

func (p *fakeProxy) reach() (net.Conn, error) {
	if p.dial != nil {
		return p.dial(), nil
	}
	return net.Dial("tcp", p.to)
}

func readN(r io.Reader, n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return []byte{}
	}
	return b
}

// An authority signs server certificates for tests.
type authority struct {
	pool *x509.CertPool
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{pool, cert, key}
}

// issue returns a certificate for name that ends at until.
func (a *authority) issue(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// serveTLS runs handler as name's https server and returns its address.
func (a *authority) serveTLS(t *testing.T, name string, handler http.HandlerFunc) string {
	t.Helper()
	return serveTLS(t, &tls.Config{Certificates: []tls.Certificate{a.issue(t, name, time.Now().Add(time.Hour))}}, handler)
}

func serveTLS(t *testing.T, config *tls.Config, handler http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, TLSConfig: config, ErrorLog: quiet()}
	var wg sync.WaitGroup
	wg.Go(func() { server.ServeTLS(ln, "", "") })
	t.Cleanup(func() {
		server.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}
