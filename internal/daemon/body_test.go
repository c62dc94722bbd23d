package daemon_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// big is an image whose layer is far beyond what is read before it is answered,
// so that its faults come in the middle of the client's body.
var big = simnet.Image{Repo: "library/big", Tags: []string{"1"}, Layers: []simnet.Layer{simnet.BigLayer(2<<20, 7)}}

const cutAt = 800_000 // bytes of big's layer that come before it goes wrong

// newBig is newPair with big. The manifest has been pulled when known is true,
// so that the chain knows how long the layer is.
func newBig(t *testing.T, known bool, change func(*rigConfig)) *pair {
	t.Helper()
	p := newPair(t, change)
	p.image = p.a.Push(big)
	p.b.Push(big)
	if known {
		p.manifest()
	}
	return p
}

// layer returns where the layer is, and its bytes.
func (p *pair) layer() (string, []byte) {
	d, content := p.image.Layer(0)
	return p.image.BlobPath(d.Digest), content
}

// wantResumed fails the test unless server was asked, once, for the rest of the
// layer from an offset in [least, most], and sent no more than that.
func (p *pair) wantResumed(server string, least, most int64) {
	p.t.Helper()
	_, content := p.layer()
	asked := p.net.Ledger().Find(simnet.Filter{Server: server, Method: http.MethodGet, Class: simnet.Blobs})
	if len(asked) != 1 {
		p.t.Fatalf("%s was asked for the layer %d times, want once", server, len(asked))
	}
	var from int64
	if _, err := fmt.Sscanf(asked[0].Range, "bytes=%d-", &from); err != nil || from < least || from > most {
		p.t.Errorf("%s was asked for %q, want a start in [%d, %d]", server, asked[0].Range, least, most)
	}
	p.eventually("the ledger's last byte", func() bool {
		return p.net.Ledger().Bytes(simnet.Filter{Server: server, Method: http.MethodGet, Class: simnet.Blobs}) == int64(len(content))-from
	})
}

// wantMidway fails the test unless one failover in the middle of a blob is on
// record: from a to b, for that reason.
func (p *pair) wantMidway(code pullchain.Code, from, to string) {
	p.t.Helper()
	s := p.Daemon.Snapshot()
	for _, f := range s.Find("docker.io").Failovers {
		if f.Phase == "blob_mid" && f.From == from && f.To == to && f.Code == code {
			return
		}
	}
	p.t.Errorf("no failover blob_mid from %s to %s for %q: %+v", from, to, code, s.Find("docker.io").Failovers)
}

// wantBroken fails the test unless the client could tell that it has not got
// the layer: a whole that is wrong is the one thing that must never happen.
func (p *pair) wantBroken(got reply, content []byte) {
	p.t.Helper()
	if got.Status == http.StatusOK && got.Err == nil {
		p.t.Fatalf("%s: ended in order with %d bytes (the right ones: %t), want a broken connection",
			got.Request, len(got.Body), bytes.Equal(got.Body, content))
	}
}

// A body that ends early goes on from the next path at the byte where it ended.
func TestF18_TruncatedBody(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault simnet.Fault
		known bool
		code  pullchain.Code
	}{
		"FIN":                        {simnet.Fault{Cut: simnet.EndFIN}, true, pullchain.CodeTruncated},
		"FIN, size from its headers": {simnet.Fault{Cut: simnet.EndFIN}, false, pullchain.CodeTruncated},
		"RST":                        {simnet.Fault{Cut: simnet.EndRST}, true, pullchain.CodeConnReset},
		"chunked, short":             {simnet.Fault{Cut: simnet.EndClean, NoLength: true}, true, pullchain.CodeTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newBig(t, tc.known, nil)
			tc.fault.On, tc.fault.CutAt = simnet.Blobs, cutAt
			p.a.Inject(tc.fault)
			path, content := p.layer()
			got := p.wantBytes(path, content)
			if n := got.Header.Get("Content-Length"); n != fmt.Sprint(len(content)) {
				t.Errorf("Content-Length %q, want %d", n, len(content))
			}
			p.wantAsked("a", http.MethodGet, simnet.Blobs, 1)
			least := int64(cutAt)
			if tc.fault.Cut == simnet.EndRST { // a reset may overtake bytes
				least = 0
			}
			p.wantResumed("b", least, cutAt)
			p.wantMidway(tc.code, "a", "b")
			if n := p.breaker("a", "blob").Failures; n != 1 {
				t.Errorf("a's blob breaker counts %d failures, want 1", n)
			}
			p.wantOpen("a", "manifest")
		})
	}
}

// A chunked body that ends early in order, of a blob whose length is not known,
// cannot be told from a whole one but by its digest.
func TestF18_TruncatedBodyOfUnknownSize(t *testing.T) {
	t.Parallel()
	p := newBig(t, false, nil)
	p.a.Inject(simnet.Fault{On: simnet.Blobs, NoLength: true, Cut: simnet.EndClean, CutAt: cutAt})
	path, content := p.layer()
	p.wantBroken(p.get(path), content)
}

// A length that is not that of the manifest is refused before the first byte.
func TestF19_WrongContentLength(t *testing.T) {
	t.Parallel()
	for _, shift := range []int64{-1000, 1000} {
		t.Run(fmt.Sprint(shift), func(t *testing.T) {
			t.Parallel()
			p := newBig(t, true, nil)
			p.wantLengthRefused(shift)
		})
	}
}

// wantLengthRefused has a send another length of the layer than the manifest says,
// and fails the test unless b serves it instead, and a is not blamed.
func (p *pair) wantLengthRefused(shift int64) {
	p.t.Helper()
	p.a.Inject(simnet.Fault{On: simnet.Blobs, LengthShift: shift})
	path, content := p.layer()
	got := p.wantBytes(path, content)
	if n := got.Header.Get("Content-Length"); n != fmt.Sprint(len(content)) {
		p.t.Errorf("Content-Length %q, want %d", n, len(content))
	}
	p.wantCode(got, "a", pullchain.CodeWrongSize)
	p.wantAsked("a", http.MethodGet, simnet.Blobs, 1)
	p.wantAsked("b", http.MethodGet, simnet.Blobs, 1)
	p.wantOpen("a", "blob") // it may be the manifest that lies, and any user can push one
}

// When the length is not known, the client learns the wrong one; what it gets is
// never a whole, and the path that was right is not blamed for it.
func TestF19_WrongContentLengthUnknown(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]simnet.Fault{
		"short":          {LengthShift: -1000},
		"long":           {LengthShift: 1000},
		"long, then cut": {LengthShift: 1000, Cut: simnet.EndFIN, CutAt: cutAt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newBig(t, false, nil)
			fault.On = simnet.Blobs
			p.a.Inject(fault)
			path, content := p.layer()
			p.wantBroken(p.get(path), content)
			p.wantOpen("b", "blob")
		})
	}
}

// A body that stops is given up after the stall time, wherever it stops.
func TestF21_Stall(t *testing.T) {
	t.Parallel()
	quick := func(c *rigConfig) { c.Chain[0].Tables = "[registry.upstream.timeouts]\nstall = \"2s\"" }
	t.Run("blob", func(t *testing.T) {
		t.Parallel()
		p := newBig(t, true, quick)
		p.a.Inject(simnet.Fault{On: simnet.Blobs, Cut: simnet.EndStall, CutAt: cutAt})
		path, content := p.layer()
		got := p.wantBytes(path, content)
		if got.Took < 2*time.Second || got.Took > tooLong {
			t.Errorf("took %v, want the stall time and little more", got.Took)
		}
		p.wantResumed("b", cutAt, cutAt)
		p.wantMidway(pullchain.CodeStall, "a", "b")
		if n := p.breaker("a", "blob").Failures; n != 1 {
			t.Errorf("a's blob breaker counts %d failures, want 1", n)
		}
		p.eventually("a's connection is let go", func() bool {
			e := p.net.Ledger().Find(simnet.Filter{Server: "a", Class: simnet.Blobs})
			return len(e) == 1 && e[0].Done
		})
	})
	t.Run("manifest", func(t *testing.T) {
		t.Parallel()
		p := newBig(t, false, quick)
		p.a.Inject(simnet.Fault{On: simnet.Manifests, Cut: simnet.EndStall, CutAt: 10})
		p.manifest()
		if last := p.lane("a").LastError; last == nil || last.Code != pullchain.CodeStall {
			t.Errorf("a's last error is %+v, want a stall", last)
		}
	})
	t.Run("body of an error", func(t *testing.T) {
		t.Parallel()
		p := newBig(t, true, quick)
		p.a.Inject(simnet.Fault{On: simnet.Blobs, Status: 503, Body: strings.Repeat("busy ", 100), Cut: simnet.EndStall, CutAt: 20})
		path, content := p.layer()
		if got := p.wantBytes(path, content); got.Took > tooLong {
			t.Errorf("took %v, want the stall time and little more", got.Took)
		}
		p.wantAsked("b", http.MethodGet, simnet.Blobs, 1)
	})
	t.Run("body of a redirect", func(t *testing.T) {
		t.Parallel()
		p := newBig(t, true, quick)
		d, _ := p.image.Layer(0)
		fault := simnet.RedirectTo(p.b.URL() + p.image.BlobPath(d.Digest))
		fault.On, fault.Body, fault.Cut, fault.CutAt = simnet.Blobs, strings.Repeat("over there ", 100), simnet.EndStall, 20
		p.a.Inject(fault)
		path, content := p.layer()
		if got := p.wantBytes(path, content); got.Took > tooLong {
			t.Errorf("took %v, want the stall time and little more", got.Took)
		}
	})
}

// A client that pauses for longer than the stall time makes no upstream stall.
func TestF21_SlowClientIsNoStall(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) {
		c.Chain[0].Tables = "[registry.upstream.timeouts]\nstall = \"3s\""
	})
	p.image = p.a.Push(simnet.Image{Repo: "library/huge", Tags: []string{"1"}, Layers: []simnet.Layer{simnet.BigLayer(24<<20, 9)}})
	path, content := p.layer()
	resp := p.open(path)
	defer resp.Body.Close()
	hash := digest.Canonical.Digester()
	if _, err := io.CopyN(hash.Hash(), resp.Body, 64<<10); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second) // the client's own pace is what is tested
	if _, err := io.Copy(hash.Hash(), resp.Body); err != nil {
		t.Fatal(err)
	}
	if hash.Digest() != digest.FromBytes(content) {
		t.Error("other bytes than the layer's")
	}
	p.wantAsked("a", http.MethodGet, simnet.Blobs, 1)
	p.wantAsked("b", http.MethodGet, simnet.Blobs, 0)
	if n := p.breaker("a", "blob").Failures; n != 0 {
		t.Errorf("a's blob breaker counts %d failures, want 0", n)
	}
}

// open begins a GET whose body the test reads itself.
func (r *rig) open(path string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.Daemon.Addr()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: status %d", path, resp.StatusCode)
	}
	return resp
}
