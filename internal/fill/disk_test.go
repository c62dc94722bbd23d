package fill

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// A tightSpool is a spool on a disk that takes so many bytes and no more.
type tightSpool struct {
	spool
	left *atomic.Int64
}

func (s tightSpool) WriteAt(p []byte, off int64) (int, error) {
	if s.left.Add(int64(-len(p))) < 0 {
		return 0, blobstore.ErrFull
	}
	return s.spool.WriteAt(p, off)
}

// tighten leaves room for n bytes on the disk.
func (r *fillRig) tighten(n int64) {
	var left atomic.Int64
	left.Store(n)
	open := r.fills.open
	r.fills.open = func(d digest.Digest) (backing, error) {
		b, err := open(d)
		if b.spool != nil {
			b.spool = tightSpool{b.spool, &left}
		}
		return b, err
	}
}

// TestF33NoSpool serves past a store that cannot be written: verified by the
// balancer, as the request was made.
func TestF33NoSpool(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{blobstore.ErrFull, blobstore.ErrReadOnly, io.ErrUnexpectedEOF} {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			r.fills.open = func(digest.Digest) (backing, error) { return backing{}, fault }
			for _, want := range []pullchain.Range{whole, {From: 100, To: 2000}} {
				resp, err := r.fetch(t.Context(), want)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.read(resp, want); err != nil || resp.Cache != pullchain.CacheBypass {
					t.Errorf("%v: %s, %v", want, resp.Cache, err)
				}
				resp.Body.Close()
			}
			for i, req := range r.chain.requests() {
				if req.Options.Unverified {
					t.Errorf("request %d is unverified", i)
				}
			}
			r.settled(false)
		})
	}
}

// TestF33TooLarge is a blob that the store will never have room for.
func TestF33TooLarge(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.stop()
		store, err := blobstore.Open(blobstore.Config{Dir: r.dir, MaxSize: 500 * kib})
		if err != nil {
			t.Fatal(err)
		}
		r.store, r.fills = store, New(Config{Store: store})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { r.mustGet(whole) })
		}
		wg.Wait()
		r.settled(false)
		if n := len(r.chain.requests()); n > 10 { // two a client, if each comes after the last has failed
			t.Errorf("%d requests", n)
		}
	})
}

// TestF33FullInMidFill is a disk that is full in the middle of a blob: every
// client goes on where it is, and none gets a wrong byte.
func TestF33FullInMidFill(t *testing.T) {
	t.Parallel()
	for _, room := range []int64{0, 10 * kib, 500 * kib, mib - 1} {
		for _, bad := range []int64{0, mib - 10} {
			fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
				r.tighten(room)
				r.chain.answer = func(_ int, req pullchain.Request) reply {
					if bad > 0 && !req.Options.Unverified {
						return reply{rate: mib, flip: []int64{bad}}
					}
					return reply{rate: mib}
				}
				var wg sync.WaitGroup
				for i, want := range []pullchain.Range{whole, {From: 300 * kib, To: 900 * kib}, whole, {From: 1}} {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 100 * time.Millisecond)
						err := r.get(want)
						wrong := bad > 0 && (want == whole || want.To == 0)
						if (err != nil) != wrong {
							t.Errorf("room for %d, %v: %v", room, want, err)
						}
						if want == whole && wrong && room > 0 && pullchain.ReasonOf(err) != pullchain.Corrupt && i == 0 {
							t.Errorf("room for %d: %v", room, err)
						}
					})
				}
				wg.Wait()
				if bad > 0 {
					r.chain.answer = nil
				}
				r.settled(false)
			})
		}
	}
}

// TestF33File goes on through a file as well.
func TestF33File(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.tighten(500 * kib)
		for _, want := range []pullchain.Range{whole, {From: 300 * kib, To: 900 * kib}} {
			resp, err := r.fetch(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			body := resp.Body.Sections()
			if body == nil { // it never was in the spool
				resp.Body.Close()
				continue
			}
			got, err := sendFile(body)
			to := want.To
			if to == 0 {
				to = mib
			}
			if err != nil || string(got) != string(r.chain.content[want.From:to]) {
				t.Errorf("%v: %d bytes, %v", want, len(got), err)
			}
			resp.Body.Close()
		}
		r.settled(false)
	})
}

// TestCommitFails tells nobody but the log: the clients have their bytes.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		open := r.fills.open
		r.fills.open = func(d digest.Digest) (backing, error) {
			b, err := open(d)
			b.spool = failingCommit{b.spool}
			return b, err
		}
		r.mustGet(whole)
		r.settled(false)
		if n := r.fills.Snapshot().Unkept; n != 1 {
			t.Errorf("%d unkept", n)
		}
	})
}

type failingCommit struct{ spool }

func (s failingCommit) Commit(int64, blobstore.Meta) error {
	_ = s.spool.Discard()
	return blobstore.ErrFull
}

// TestClose ends what goes on, and leaves nobody waiting.
func TestClose(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: 64 * kib} }
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := r.get(whole); pullchain.ReasonOf(err) != pullchain.Canceled {
					t.Errorf("error %v", err)
				}
			})
		}
		time.Sleep(time.Second)
		r.restart()
		wg.Wait()
		fills := r.fills
		r.restart()
		if _, err := fills.Fetch(context.Background(), r.reg, r.request("library/app", whole), nil); pullchain.ReasonOf(err) != pullchain.Canceled {
			t.Errorf("after close: %v", err)
		}
		synctest.Wait() // until the store has looked at its directory
		if r.store.Stats().Partial != 1 {
			t.Errorf("%+v", r.store.Stats())
		}
	})
}
