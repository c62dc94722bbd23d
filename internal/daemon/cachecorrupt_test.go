package daemon_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/simnet"
)

// large is an image whose one layer is far beyond what is held back of it.
var large = simnet.Image{Repo: "library/large", Tags: []string{"1"}, Layers: []simnet.Layer{simnet.BigLayer(3<<20, 20)}}

// newKeptOf is newKept with another image, whose manifest has been pulled.
func newKeptOf(t *testing.T, img simnet.Image, change func(*rigConfig)) *kept {
	t.Helper()
	k := newKept(t, change)
	k.image = k.a.Push(img)
	k.b.Push(img)
	k.manifest()
	return k
}

// newKeptTrio is newKeptOf with a third path, c, which is in order.
func newKeptTrio(t *testing.T, img simnet.Image) *kept {
	t.Helper()
	return newKeptOf(t, img, func(cfg *rigConfig) {
		c := cfg.Net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "c"}, Images: []simnet.Image{img}})
		cfg.Chain = append(cfg.Chain, lane{Name: "c", URL: c.URL(), Keys: unaided})
	})
}

// sent is how many bytes of blobs the upstreams have sent, once all is quiet.
func (k *kept) sent() int64 {
	k.t.Helper()
	if err := k.net.Ledger().WaitIdle(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	return k.net.Ledger().Bytes(simnet.Filter{Class: simnet.Blobs})
}

// wantSent fails the test unless the upstreams have sent least bytes of blobs,
// and at most so many more.
func (k *kept) wantSent(least, more int64) {
	k.t.Helper()
	if n := k.sent(); n < least || n > least+more {
		k.t.Errorf("%d bytes of blobs were fetched, want %d and at most %d more", n, least, more)
	}
}

// layerStored waits until the layer is in the cache, right, and nothing is under
// way any more.
func (k *kept) layerStored() {
	k.t.Helper()
	d, content := k.image.Layer(0)
	path := filepath.Join(k.dir, "blobs", "sha256", d.Digest.Encoded()[:2], d.Digest.Encoded())
	k.eventually("the layer is in the cache", func() bool {
		s := k.Daemon.Snapshot().Cache
		b, err := os.ReadFile(path)
		return err == nil && bytes.Equal(b, content) && s.Fills.Active == 0 && s.Partial == 0
	})
	k.wantSound()
}

// wantSound fails the test if anything wrong is in the store, or was.
func (k *kept) wantSound() map[digest.Digest]bool {
	k.t.Helper()
	if n := k.Daemon.Snapshot().Cache.Corrupt; n != 0 {
		k.t.Errorf("%d stored blobs have proved wrong", n)
	}
	return hashStore(k.t, k.dir)
}

// wantHit fails the test unless the layer comes from the cache, and from nowhere
// else, whole and in part.
func (k *kept) wantHit() {
	k.t.Helper()
	path, content := k.layer()
	k.wantNoMore("the layer once more", func() {
		k.wantCache(k.wantBytes(path, content), "hit")
		got := k.get(path, "Range", "bytes=1000-299999")
		if got.Status != http.StatusPartialContent || !bytes.Equal(got.Body, content[1000:300000]) {
			k.t.Errorf("a part of it: %d, %d bytes", got.Status, len(got.Body))
		}
	})
}

// pullUnlessBroken pulls the layer. It fails the test if a whole came that is
// wrong, and reports whether one came.
func (k *kept) pullUnlessBroken() bool {
	k.t.Helper()
	path, content := k.layer()
	got := k.get(path)
	switch {
	case got.Status != http.StatusOK || got.Err != nil:
		return false
	case !bytes.Equal(got.Body, content):
		k.t.Errorf("the client got %d bytes in order, and they are not the layer's %d", len(got.Body), len(content))
	}
	return true
}

// wantBlamed fails the test unless wrong bytes are held against this lane, once, and
// against no other. It is not quarantined for one blob's.
func (k *kept) wantBlamed(liar string) {
	k.t.Helper()
	s := k.Daemon.Snapshot()
	for _, l := range s.Find("docker.io").Lanes {
		want := uint64(0)
		if l.Upstream == liar {
			want = 1
			if l.LastError == nil || l.LastError.Code != pullchain.CodeDigestMismatch {
				k.t.Errorf("%s's last error is %+v, want %s", l.Upstream, l.LastError, pullchain.CodeDigestMismatch)
			}
		}
		if got := k.work(l.Upstream, "blob").Outcomes[pullchain.CodeDigestMismatch]; got != want {
			k.t.Errorf("%s is blamed for %d wrong blobs, want %d", l.Upstream, got, want)
		}
		if l.State == balancer.StateQuarantined {
			k.t.Errorf("%s is quarantined for one blob", l.Upstream)
		}
		k.wantOpen(l.Upstream, "blob")
	}
}

// wantAskedForOthers fails the test unless the image that proved wrong at a, which is in
// order by now, is fetched from b when it is wanted anew, and all else from a.
func (k *kept) wantAskedForOthers() {
	k.t.Helper()
	before := k.asked("a", http.MethodGet, simnet.Blobs)
	var change cache.Change
	if status := k.post("/api/v1/cache:evict", `{"what":"docker.io/`+k.image.Repo+":"+k.image.Tags[0]+`"}`, &change); status != http.StatusOK || change.Objects == 0 {
		k.t.Fatalf("evict: %d %+v", status, change)
	}
	k.wantServedBy(k.manifest(), "a")
	k.wantServedBy(k.blob(0), "b")
	k.wantAsked("a", http.MethodGet, simnet.Blobs, before)
	k.wantServedBy(k.blobOf(k.another()), "a")
}

// F20 One wrong bit: the client never gets a complete wrong blob. Where it had no
// wrong byte yet, it gets the right ones in the same request; the path that lied
// is not asked for that blob for a while, and what is stored is right.
func TestF20_CorruptCache(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flip   int64
		served bool // by the same request, without fail
	}{
		"the first byte":  {0, false},
		"in the middle":   {1 << 20, false},
		"in the held end": {3<<20 - 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeptOf(t, large, nil)
			mend := k.a.Inject(simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: tc.flip})
			if whole := k.pullUnlessBroken(); tc.served && !whole {
				t.Error("the client had no wrong byte, and was cut off")
			}
			k.layerStored() // also if the client is gone
			k.wantBlamed("a")
			k.wantAsked("a", http.MethodGet, simnet.Blobs, 1)
			k.wantAsked("b", http.MethodGet, simnet.Blobs, 1)
			k.wantSent(2*3<<20, 0)
			if f := k.Daemon.Snapshot().Cache.Fills; f.Mismatches != 1 || f.Repaired != 1 {
				t.Errorf("people are told of %d mismatches and %d repairs, want one each", f.Mismatches, f.Repaired)
			}
			k.wantHit()
			mend()
			k.wantAskedForOthers()
		})
	}
}

// F20 What is small enough to be held back as a whole is right without fail.
func TestF20_CorruptSmallCache(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	mend := k.a.Inject(simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: 5})
	k.manifest()
	k.blob(0)
	k.wantBlamed("a")
	k.wantAsked("a", http.MethodGet, simnet.Blobs, 1)
	k.wantAsked("b", http.MethodGet, simnet.Blobs, 1)
	k.eventually("it is in the cache", func() bool { // and its fill, which would be joined, is over
		return len(k.wantSound()) == 2 && k.Daemon.Snapshot().Cache.Fills.Active == 0
	})
	k.wantNoMore("once more", func() { k.wantCache(k.blob(0), "hit") })
	mend()
	k.wantAskedForOthers()
}

// F20 Wrong blobs of three repositories quarantine the path that sent them.
func TestF20_WrongInManyRepositoriesCache(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	k.a.Inject(simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: 5})
	for n := range 3 {
		if l := k.lane("a"); l.State == balancer.StateQuarantined {
			t.Errorf("quarantined after %d repositories, want 3", n)
		}
		k.wantServedBy(k.blobOf(k.another()), "b")
	}
	k.wantUntil(k.wantGate("a", "blob", "quarantine", pullchain.CodeDigestMismatch), 5*time.Minute, 5*time.Minute)
	k.wantGate("a", "manifest", "quarantine", pullchain.CodeDigestMismatch)
	k.wantOpen("b", "blob")
	k.wantServedBy(k.blobOf(k.another()), "b")
	k.wantAsked("a", http.MethodGet, simnet.Blobs, 3)
	k.wantAsked("b", http.MethodGet, simnet.Blobs, 4)
	k.wantSound()
}

// F20 Two paths have sent parts of a blob that is wrong: which of them lied shows when a
// right copy is there to compare with, and that one alone is blamed.
func TestF20_TwoSourcesCache(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	cut := simnet.Fault{On: simnet.Blobs, Cut: simnet.EndFIN, CutFraction: 0.4, Times: 1}
	lyingCut := cut
	lyingCut.Flip, lyingCut.FlipAt = true, size/10
	lie := func(at int64) simnet.Fault { return simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: at} }
	for name, tc := range map[string]struct {
		a, b   simnet.Fault
		trio   bool // a third path has the right bytes
		liar   string
		served bool
	}{
		"the second":                             {cut, lie(size / 2), true, "b", false},
		"the second, in the held end":            {cut, lie(size - 10), true, "b", true},
		"the second, and there is no third":      {cut, lie(size - 10), false, "b", true},
		"the first":                              {lyingCut, simnet.Fault{}, true, "a", false},
		"the first, which is right from then on": {lyingCut, simnet.Fault{}, false, "a", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := newKeptOf
			if tc.trio {
				start = func(t *testing.T, img simnet.Image, _ func(*rigConfig)) *kept { return newKeptTrio(t, img) }
			}
			k := start(t, large, nil)
			k.a.Inject(tc.a)
			k.b.Inject(tc.b)
			if whole := k.pullUnlessBroken(); tc.served && !whole {
				t.Error("the client had no wrong byte, and was cut off")
			}
			k.layerStored()
			k.wantBlamed(tc.liar)
			if tc.trio {
				k.wantAsked("a", http.MethodGet, simnet.Blobs, 1)
				k.wantAsked("b", http.MethodGet, simnet.Blobs, 1)
				k.wantAsked("c", http.MethodGet, simnet.Blobs, 1)
			}
			k.wantSent(2*size, 0)
			k.wantHit()
		})
	}
}

// F20 When every path lies, no client gets a whole and nothing is kept. They are asked
// for it all the same when it is wanted again: there is no other.
func TestF20_AllLieCache(t *testing.T) {
	t.Parallel()
	k := newKeptOf(t, large, nil)
	var mend []func()
	for i, m := range []*simnet.Mirror{k.a, k.b} {
		lift := m.Inject(simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: 3<<20 - 10 - int64(i)})
		mend = append(mend, lift)
	}
	if k.pullUnlessBroken() {
		t.Error("the client got a whole, and no upstream has it")
	}
	k.eventually("nothing is under way", func() bool { return k.Daemon.Snapshot().Cache.Fills.Active == 0 })
	for _, name := range []string{"a", "b"} {
		if k.work(name, "blob").Outcomes[pullchain.CodeDigestMismatch] == 0 {
			t.Errorf("%s is not blamed", name)
		}
		k.wantOpen(name, "blob")
	}
	if stored := k.wantSound(); len(stored) != 1 { // the manifest
		t.Errorf("stored: %v", stored)
	}
	left, err := os.ReadDir(filepath.Join(k.dir, "partial"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if strings.HasSuffix(f.Name(), ".part") {
			t.Errorf("what is wrong is kept as a part: %s", f.Name())
		}
	}
	for _, lift := range mend {
		lift()
	}
	k.blob(0)
	k.layerStored()
}
