package simnet_test

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

func isX509[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func says(text string) func(error) bool {
	return func(err error) bool { return strings.Contains(err.Error(), text) }
}

func TestBreak(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault simnet.ConnFault
		h2    bool
		want  func(error) bool
		limit time.Duration // only for what never ends by itself
	}{
		"refused":      {simnet.ConnRefused, false, func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }, 0},
		"blackhole":    {simnet.ConnBlackhole, false, timedOut, 300 * time.Millisecond},
		"silent":       {simnet.ConnSilent, false, timedOut, 300 * time.Millisecond},
		"reset":        {simnet.ConnReset, false, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }, 0},
		"close":        {simnet.ConnClose, false, func(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }, 0},
		"expired":      {simnet.ConnExpiredCert, false, isX509[x509.CertificateInvalidError], 0},
		"wrong host":   {simnet.ConnWrongHost, false, isX509[x509.HostnameError], 0},
		"unknown CA":   {simnet.ConnUnknownCA, false, isX509[x509.UnknownAuthorityError], 0},
		"not TLS":      {simnet.ConnNotTLS, false, says("server gave HTTP response to HTTPS client"), 0},
		"raw SETTINGS": {simnet.ConnRawSettings, false, says("malformed HTTP response"), 0},
		"GOAWAY":       {simnet.ConnH2GoAway, true, timedOut, 300 * time.Millisecond}, // Go asks again and again
		"calm":         {simnet.ConnH2Calm, true, says("ENHANCE_YOUR_CALM"), 0},
		"REFUSED":      {simnet.ConnH2Refused, true, timedOut, 300 * time.Millisecond}, // Go asks again with growing waits
		"reset midway": {simnet.ConnH2ResetMidway, true, says("INTERNAL_ERROR"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := simnet.New(simnet.Config{HTTP2: tt.h2})
			t.Cleanup(n.Close)
			m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}})
			c := n.Client()
			c.Timeout = tt.limit
			fine := func() {
				t.Helper()
				got := ask(t, n.Client(), "GET", m.URL()+"/v2/")
				if got.StatusCode != 200 || (got.ProtoMajor == 2) != tt.h2 {
					t.Errorf("%s %s", got.Proto, got.Status)
				}
			}
			fine()
			addr := m.Addr()
			m.Break(tt.fault)
			a, err := try(t, c, "GET", m.URL()+"/v2/")
			if err == nil {
				err = a.err
			}
			switch {
			case err == nil:
				t.Errorf("no error: %s", a.Status)
			case !tt.want(err):
				t.Errorf("error %v", err)
			}
			m.Mend()
			if m.Addr() != addr {
				t.Errorf("address was %s, is %s", addr, m.Addr())
			}
			fine()
		})
	}
}

// TestRefusedStream sends a body, which Go cannot send twice, and so shows the
// error that it else hides by asking again.
func TestRefusedStream(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{HTTP2: true})
	t.Cleanup(n.Close)
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}})
	m.Break(simnet.ConnH2Refused)
	req, err := http.NewRequestWithContext(t.Context(), "GET", m.URL()+"/v2/", io.LimitReader(strings.NewReader("body"), 4))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := n.Client().Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "REFUSED_STREAM") {
		t.Errorf("error %v", err)
	}
}

// TestGoAwayOnce holds the fault that a good client hides: unprocessed
// requests go to a new connection.
func TestGoAwayOnce(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{HTTP2: true})
	t.Cleanup(n.Close)
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}})
	m.BreakNext(simnet.ConnH2GoAway, 1)
	if got := ask(t, n.Client(), "GET", m.URL()+"/v2/"); got.StatusCode != 200 {
		t.Errorf("%s", got.Status)
	}
	if got := n.Ledger().Connections("m"); got != 2 {
		t.Errorf("%d connections", got)
	}
}

func TestBreakNext(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}})
	m.BreakNext(simnet.ConnReset, 2)
	var failures int
	for range 4 {
		if _, err := try(t, n.Client(), "HEAD", m.URL()+"/v2/"); err != nil {
			failures++
		}
	}
	if failures != 2 {
		t.Errorf("%d failures", failures)
	}
	if got := n.Ledger().Connections("m"); got != 4 {
		t.Errorf("%d connections", got)
	}
	if got := n.Ledger().Count(simnet.Filter{Server: "m"}); got != 2 {
		t.Errorf("%d requests", got)
	}
}

func TestBlackhole(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	for range 3 {
		c, err := net.DialTimeout("tcp", n.Blackhole(), 150*time.Millisecond)
		if err == nil {
			c.Close()
		}
		if !timedOut(err) {
			t.Errorf("dial: %v", err)
		}
	}
}

// TestRefusedKeepsThePort opens and closes many times: no other process may take the
// port meanwhile.
func TestRefusedKeepsThePort(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{Plain: true})
	t.Cleanup(n.Close)
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}})
	for range 20 {
		m.Break(simnet.ConnRefused)
		if _, err := net.Dial("tcp", m.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("closed: %v", err)
		}
		m.Break(simnet.ConnBlackhole)
		m.Mend()
		if got := ask(t, n.Client(), "GET", m.URL()+"/v2/"); got.StatusCode != 200 {
			t.Fatalf("open: %s", got.Status)
		}
	}
}
