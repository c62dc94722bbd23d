package front

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// writeCert writes a new self-signed pair for 127.0.0.1 into dir and returns the
// config that serves it.
func writeCert(t testing.TB, dir, name string) Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{TLSCert: filepath.Join(dir, "cert.pem"), TLSKey: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{
		c.TLSCert: {Type: "CERTIFICATE", Bytes: cert},
		c.TLSKey:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// The names in the certificates tell them apart; no client needs to trust them.
var anyCert = &tls.Config{InsecureSkipVerify: true}

// peer shakes hands and returns the name in the certificate and the protocol.
func peer(t *testing.T, addr string) (name, protocol string) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	return state.PeerCertificates[0].Subject.CommonName, state.NegotiatedProtocol
}

// A renewed certificate is served without a restart; a broken one is not, and is
// complained of once.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := writeCert(t, dir, "first")
	h, logs := newHandler(t, c, &fakeFetcher{fetch: healthy})
	addr, _ := start(t, c, h)
	if name, protocol := peer(t, addr); name != "first" || protocol != "http/1.1" {
		t.Fatalf("%s over %s", name, protocol)
	}
	// Wind the clock of the files forward: their ticks may be coarse.
	touch := func(d time.Duration) {
		for _, file := range []string{c.TLSCert, c.TLSKey} {
			if err := os.Chtimes(file, time.Now().Add(d), time.Now().Add(d)); err != nil {
				t.Fatal(err)
			}
		}
	}
	writeCert(t, dir, "second")
	touch(time.Minute)
	if name, _ := peer(t, addr); name != "second" {
		t.Errorf("after the renewal: %s", name)
	}
	if err := os.WriteFile(c.TLSCert, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(2 * time.Minute)
	for range 3 {
		if name, _ := peer(t, addr); name != "second" {
			t.Errorf("with a broken file: %s", name)
		}
	}
	os.Remove(c.TLSCert)
	if name, _ := peer(t, addr); name != "second" {
		t.Errorf("without the file: %s", name)
	}
	writeCert(t, dir, "third")
	touch(3 * time.Minute)
	if name, _ := peer(t, addr); name != "third" {
		t.Errorf("mended: %s", name)
	}
	complaints := 0
	for _, line := range logs.all(t) {
		if strings.Contains(line["msg"].(string), "cannot be used") {
			complaints++
		}
	}
	if complaints != 1 {
		t.Errorf("%d complaints, want 1", complaints)
	}
}

// HTTP/2 is spoken when asked for, and blobs come through it whole; a cut one is
// an error there too.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	c := writeCert(t, t.TempDir(), "h2")
	c.HTTP2 = true
	h, _ := newHandler(t, c, &fakeFetcher{fetch: func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp := blobResponse(req)
		if req.Repo == "library/cut" {
			resp.Body = bodyOf(layer[:500_000], copySize, errCut)
		}
		return resp, nil
	}})
	addr, _ := start(t, c, h)
	cl := client(t, anyCert)
	resp, err := cl.Get("https://" + addr + blobPath)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.ProtoMajor != 2 || err != nil || string(body) != string(layer) {
		t.Errorf("%s, %d bytes, %v", resp.Proto, len(body), err)
	}
	if g := do(t, cl, "GET", "https://"+addr+strings.Replace(blobPath, "alpine", "cut", 1)); g.Err == nil || g.Body != string(layer[:len(g.Body)]) {
		t.Errorf("cut: %d bytes, %v", len(g.Body), g.Err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+addr+"/v2/alpine/manifests/1", io.LimitReader(strings.NewReader("body"), 4))
	if resp, err = cl.Do(req); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a body on GET: %d", resp.StatusCode)
	}
}

// inBubbleHTTP2 runs f with a client that speaks HTTP/2 to a server on fake time,
// and lets at most window bytes of a body be on their way.
func inBubbleHTTP2(t *testing.T, window int, fetcher pullchain.Fetcher, f func(t *testing.T, cl *http.Client)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := writeCert(t, t.TempDir(), "h2")
		c.HTTP2 = true
		h, _ := newHandler(t, c, fetcher)
		s, err := NewServer(c, h, h.log)
		if err != nil {
			t.Fatal(err)
		}
		ln := newPipeListener()
		done := make(chan error, 1)
		go func() { done <- s.Serve(ln) }()
		transport := &http.Transport{
			ForceAttemptHTTP2: true,
			HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerStream: window},
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn := tls.Client(ln.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
				return conn, conn.HandshakeContext(ctx)
			},
		}
		f(t, &http.Client{Transport: transport})
		transport.CloseIdleConnections()
		s.Shutdown(t.Context())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// F32 over HTTP/2, where a deadline ends the stream even when nothing is written: an
// upstream's time is not held against the client there either.
func TestF32SlowUpstreamOverHTTP2(t *testing.T) {
	inBubbleHTTP2(t, 4<<20, slowUpstream(), func(t *testing.T, cl *http.Client) {
		g := do(t, cl, "GET", "https://localhost"+blobPath)
		if g.Status != 200 || g.Err != nil || g.Body != string(layer) {
			t.Errorf("%d, %d bytes, %v", g.Status, len(g.Body), g.Err)
		}
	})
}

// F32 over HTTP/2: a client that stops reading is dropped, be it at the very end.
func TestF32DeadClientOverHTTP2(t *testing.T) {
	const window = 128 << 10
	for _, size := range []int{len(layer), window + 2000} { // the second blocks after the handler is done
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			f := blobWith(int64(size), func() pullchain.Body { return bodyOf(layer[:size], window, io.EOF) })
			inBubbleHTTP2(t, window, f, func(t *testing.T, cl *http.Client) {
				resp, err := cl.Get("https://localhost" + blobPath)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				time.Sleep(2 * time.Minute)
				if n, err := io.Copy(io.Discard, resp.Body); err == nil {
					t.Errorf("all of %d bytes after two minutes", n)
				}
			})
		})
	}
}

// Without TLS nothing but HTTP/1.1 is spoken: no prior knowledge, no upgrade.
func TestNoHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	addr, _ := start(t, Config{}, h)
	if g := rawRequest(t, addr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); g.Status == 200 {
		t.Errorf("the HTTP/2 preface was answered with %d", g.Status)
	}
	g := rawRequest(t, addr, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
	if g.Status != 200 {
		t.Errorf("an upgrade to h2c: %d", g.Status)
	}
	// Plain HTTP to a TLS listener is told so, in text.
	c := writeCert(t, t.TempDir(), "tls")
	h, _ = newHandler(t, c, &fakeFetcher{fetch: healthy})
	addr, _ = start(t, c, h)
	if g := rawRequest(t, addr, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"); g.Status != 400 || !strings.Contains(g.Body, "HTTPS server") {
		t.Errorf("plain HTTP to TLS: %d %s", g.Status, fmt.Sprint(g.Body))
	}
}
