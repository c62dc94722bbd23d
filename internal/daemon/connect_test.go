package daemon_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// F01 Connect refused: one request finds out, those right after it do not, and
// three in a row open the breaker for everything on that host.
func TestF01_ConnectRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Break(simnet.ConnRefused)

	began := time.Now()
	p.wantCode(p.manifest(), "a", pullchain.CodeConnRefused)
	held := p.lane("a")
	if len(held.Gates) == 0 && time.Since(began) < 200*time.Millisecond {
		t.Errorf("not held after a refusal: %+v", held)
	}
	if n := len(held.Gates); n != 0 && n != 2 {
		t.Errorf("held for %d classes of requests, want manifests and blobs: %+v", n, held)
	}
	for held.Until != nil {
		got, blob := p.manifest(), p.blob(0)
		n := p.work("a", "manifest").Requests + p.work("a", "blob").Requests
		if !time.Now().Before(*held.Until) {
			break
		}
		if got.servedBy() != "b" || blob.servedBy() != "b" || n != 1 {
			t.Fatalf("served by %q; %d requests were sent to a within the hold, want the first alone", got.servedBy(), n)
		}
	}
	p.eventually("the third refusal in a row opens the breaker", func() bool {
		p.manifest()
		return p.breaker("a", "manifest").State == "open"
	})
	// Four if the loop above has sent its last two beside each other, past the hold.
	if n := p.work("a", "manifest").Failures + p.work("a", "blob").Failures; n < 3 || n > 4 {
		t.Errorf("it took %d refusals, want 3", n)
	}
	p.eventually("the breaker outlasts the hold", func() bool { return p.gate("a", "blob").Gate != "hold" })
	p.wantGate("a", "blob", "breaker", pullchain.CodeConnRefused)
	if got := p.lane("a"); got.State != "open" || got.Code != pullchain.CodeConnRefused {
		t.Errorf("shown as %s, %s", got.State, got.Code)
	}
}

// impatientDialler waits for a's connections as long as a configuration without a
// patience table does,
// and would go on dialling for a minute.
func impatientDialler(c *rigConfig) {
	c.Chain[0].Patience = asShipped
	c.Chain[0].Tables = "[registry.upstream.timeouts]\nconnect = \"60s\""
}

// F02 Blackhole: the first request waits a second, then goes elsewhere; those
// after it do not wait, and do not dial.
func TestF02_Blackhole(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"blob", "manifest"} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, impatientDialler)
			p.probed("a", "b")
			p.a.Break(simnet.ConnBlackhole)
			if got := p.first(class); got.servedBy() != "b" {
				t.Errorf("the first request was served by %q", got.servedBy())
			}
			p.wantBeside()
			p.eventually("a is held", func() bool { return p.gate("a", "blob").Gate != "" })
			p.wantGate("a", "manifest", "hold", pullchain.CodeConnTimeout)
			p.wantUntil(p.wantGate("a", "blob", "hold", pullchain.CodeConnTimeout), 10*time.Second, 10*time.Second)
			p.manifest()
			p.blob(0)
			p.blob(1)
			if n := p.work("a", "manifest").Requests + p.work("a", "blob").Requests; n > 1 || p.lane("a").InFlight != 0 {
				t.Errorf("%d requests were sent to a, %d still run; want the first alone", n, p.lane("a").InFlight)
			}
		})
	}
}

// F02 Two silent connections within thirty seconds open the breaker.
func TestF02_BlackholeTripsAtTwo(t *testing.T) {
	t.Parallel()
	p := newPair(t, impatientDialler)
	p.probed("a", "b")
	p.a.Break(simnet.ConnBlackhole)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { p.blob(0) })
	}
	wg.Wait()
	if b := p.breaker("a", "blob"); b.State != "open" || b.Code != pullchain.CodeConnTimeout || b.Trips != 1 {
		t.Errorf("after two silent connections the breaker is %+v", b)
	}
}

// F03 A name that does not resolve: the next upstream serves, and the third
// failure in a row opens the breaker for manifests and blobs alike.
func TestF03_NoSuchName(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[0].URL = "https://registry.invalid" })
	for range 3 {
		got := p.manifest()
		p.wantCode(got, "a", pullchain.CodeDNS)
		if got.servedBy() != "b" {
			t.Errorf("served by %q", got.servedBy())
		}
	}
	if b := p.breaker("a", "manifest"); b.State != "open" || b.Code != pullchain.CodeDNS {
		t.Errorf("after three failures the breaker is %+v", b)
	}
	p.wantGate("a", "blob", "breaker", pullchain.CodeDNS)
	if text := p.lane("a").LastError.Text; !strings.Contains(text, "registry.invalid") {
		t.Errorf("the error does not name the host: %q", text)
	}
}

// F03 With every name gone the client is told so in JSON, at once.
func TestF03_NothingResolves(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) {
		c.Chain[0].URL, c.Chain[1].URL = "https://one.invalid", "https://two.invalid"
	})
	body := p.wantError(p.get(p.image.Path()), 503, "UNAVAILABLE")
	for _, word := range []string{"a dns", "b dns"} {
		if !strings.Contains(body.Errors[0].Message, word) {
			t.Errorf("the message does not say %q: %s", word, body.Errors[0].Message)
		}
	}
}

// F04 A certificate that is not good: the first is enough to open the breaker,
// nothing is asked over it, and people are told which and why.
func TestF04_BadCertificate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault simnet.ConnFault
		says  string
	}{
		"expired":    {simnet.ConnExpiredCert, "expired"},
		"wrong host": {simnet.ConnWrongHost, "IP SANs"},
		"unknown CA": {simnet.ConnUnknownCA, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			p.probed("a", "b")
			p.a.Break(tt.fault)
			p.net.Ledger().Reset()
			p.wantCode(p.manifest(), "a", pullchain.CodeTLSCert)
			if b := p.breaker("a", "manifest"); b.State != "open" || b.Trips != 1 || b.Failures > 1 {
				t.Errorf("after one bad certificate the breaker is %+v", b)
			}
			p.wantGate("a", "blob", "breaker", pullchain.CodeTLSCert)
			// Nothing gets better within a minute (docs/faults.md F04: recheck 5 min).
			p.wantUntil(p.gate("a", "manifest"), 4*time.Minute, 5*time.Minute)
			dials := p.net.Ledger().Connections("a")
			p.manifest()
			p.blob(0)
			p.wantAsked("a", "", 0, 0)
			if got := p.net.Ledger().Connections("a"); dials != 1 || got != 1 {
				t.Errorf("%d connections were made to a, %d at first; want 1", got, dials)
			}
			got := p.lane("a")
			if got.State != "open" || got.Code != pullchain.CodeTLSCert || !strings.Contains(got.Error, tt.says) {
				t.Errorf("shown as %s, %s: %q does not say %q", got.State, got.Code, got.Error, tt.says)
			}
		})
	}
}

// F04 A certificate that was trusted a moment ago and is not any more, with no
// other upstream: an error, never bytes.
func TestF04_NeverInsecure(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain = c.Chain[:1] })
	p.manifest()
	p.a.Break(simnet.ConnUnknownCA)
	p.net.Ledger().Reset()
	for range 3 {
		p.wantError(p.get(p.image.Path()), 503, "UNAVAILABLE")
	}
	p.wantAsked("a", "", 0, 0)
}
