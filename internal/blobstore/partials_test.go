package blobstore

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
)

// wantPartials compares what a store says of its partial blobs, in any order.
func wantPartials(t *testing.T, s *Store, when string, want ...Partial) {
	t.Helper()
	opts := cmp.Options{
		cmpopts.IgnoreFields(Partial{}, "Written"), cmpopts.EquateEmpty(),
		cmpopts.SortSlices(func(a, b Partial) bool { return a.Digest < b.Digest }),
	}
	if diff := cmp.Diff(want, s.Partials(t.Context()), opts); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestPartials(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	wantPartials(t, s, "nothing")
	put(t, s, 9, 100, Meta{})
	b, d := content(1, 1000)
	_, unsized := content(2, 1000)
	sp := newSpool(t, s, d)
	if err := sp.SetSize(1000); err != nil { // which promises all of it
		t.Fatal(err)
	}
	fill(t, sp, b, 0, 300, "a")
	fill(t, sp, b, 100, 300, "b") // the same bytes again
	wantPartials(t, s, "under way", Partial{Digest: d, Here: 500, Size: 1000, Open: true})
	fill(t, sp, b, 0, 900, "c")
	wantPartials(t, s, "written twice", Partial{Digest: d, Here: 1000, Size: 1000, Open: true})
	if err := sp.Suspend(); err != nil {
		t.Fatal(err)
	}
	other := newSpool(t, s, unsized)
	fill(t, other, b, 0, 50, "")
	if err := other.Suspend(); err != nil {
		t.Fatal(err)
	}
	left := []Partial{{Digest: d, Here: 900, Size: 1000}, {Digest: unsized, Here: 50, Size: -1}}
	wantPartials(t, s, "given up for now", left...)
	for _, p := range s.Partials(t.Context()) {
		if since := time.Since(p.Written); since < 0 || since > time.Hour {
			t.Errorf("written at %v", p.Written)
		}
	}
	_ = s.Close()
	s = newStore(t, Config{Dir: s.dir})
	wantPartials(t, s, "after a restart", left...)
}

// The directory is read before it is told what is in it, unless nobody waits.
func TestPartialsOfAnEndedContext(t *testing.T) {
	t.Parallel()
	s := &Store{holdings: holdings{scanned: make(chan struct{})}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := s.Partials(ctx); got != nil {
		t.Errorf("%v", got)
	}
}

func TestRemovePartial(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	whole := put(t, s, 9, 100, Meta{})
	for _, d := range []digest.Digest{whole, digest.FromString("x"), "no digest"} {
		_, err := s.RemovePartial(d)
		wantErr(t, err, ErrNotFound)
	}
	b, d := content(1, 1000)
	sp := newSpool(t, s, d)
	if err := sp.SetSize(1000); err != nil {
		t.Fatal(err)
	}
	fill(t, sp, b, 0, 300, "")
	_, err := s.RemovePartial(d)
	wantErr(t, err, ErrInUse)
	if err := sp.Suspend(); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.RemovePartial(d); err != nil || freed != 300 {
		t.Errorf("%d bytes, %v", freed, err)
	}
	wantPartials(t, s, "removed")
	if left := files(t, s, partialDir); len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
	if st := s.Stats(); st.Partial != 0 || st.PartialBytes != 0 || st.Bytes != 100 {
		t.Errorf("%+v", st)
	}
	_, err = s.RemovePartial(d)
	wantErr(t, err, ErrNotFound)
	sp = newSpool(t, s, d) // begins anew
	if sp.Size() != -1 || len(sp.Extents()) != 0 {
		t.Errorf("%d bytes, %v", sp.Size(), sp.Extents())
	}
	if err := sp.Discard(); err != nil {
		t.Fatal(err)
	}
}

// GC counts what it frees of partial blobs too.
func TestGCCountsPartials(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	<-s.scanned
	old, oldDigest := content(1, 1000)
	fresh, freshDigest := content(2, 1000)
	for d, b := range map[digest.Digest][]byte{oldDigest: old, freshDigest: fresh} {
		sp := newSpool(t, s, d)
		fill(t, sp, b, 0, 300, "")
		if err := sp.Suspend(); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	s.index.partials[oldDigest].written = time.Now().Add(-partialAge - time.Minute)
	s.mu.Unlock()
	if freed, err := s.GC(t.Context()); err != nil || freed != 300 {
		t.Errorf("%d bytes freed, %v; want 300", freed, err)
	}
	wantPartials(t, s, "after it", Partial{Digest: freshDigest, Here: 300, Size: -1})
}
