package cache_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
)

// interrupt makes a stored blob one of which only the first bytes are here, and
// returns its Spool, which is open.
func (s *shelf) interrupt(d digest.Digest, here int64) *blobstore.Spool {
	s.t.Helper()
	if err := s.store.Remove(d); err != nil {
		s.t.Fatal(err)
	}
	spool, err := s.store.Spool(s.t.Context(), d)
	if err != nil {
		s.t.Fatal(err)
	}
	content := s.up.content[d].body
	_, err = spool.WriteAt(content[:here], 0)
	if err := errors.Join(err, spool.SetSize(int64(len(content))), spool.Record(blobstore.Extent{To: here})); err != nil {
		s.t.Fatal(err)
	}
	return spool
}

// suspended is interrupt for a fetch that was given up for now.
func (s *shelf) suspended(d digest.Digest, here int64) {
	s.t.Helper()
	if err := s.interrupt(d, here).Suspend(); err != nil {
		s.t.Fatal(err)
	}
}

// partials returns the names of what is not whole.
func (s *shelf) partials() map[string]int64 {
	found := map[string]int64{}
	for _, p := range s.store.Partials(s.t.Context()) {
		found[s.names[p.Digest]] = p.Here
	}
	return found
}

func TestListTellsOfPartialBlobs(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		s.suspended(s.own, 4)
		for _, query := range []string{s.own.Encoded()[:12], "alpine:3.20"} {
			var got *cache.Entry
			for _, e := range s.cache.List(t.Context(), query) {
				if e.Digest == s.own {
					got = &e
				} else if e.Here != e.Size || e.Kind == cache.KindPartial {
					t.Errorf("%s: a whole object is %+v", query, e)
				}
			}
			if got == nil {
				t.Fatalf("%s: it is not listed", query)
			}
			want := cache.Entry{
				Digest: s.own, Kind: cache.KindPartial, Size: int64(len("layer of arm")), Here: 4,
				Images: []string{"docker.io/library/alpine:3.20"}, Used: got.Used,
			}
			if diff := cmp.Diff(want, *got); diff != "" || got.Used.IsZero() {
				t.Errorf("%s (-want +got):\n%s", query, diff)
			}
		}
		if got := s.cache.List(t.Context(), "busybox"); len(got) != 3 {
			t.Errorf("busybox has %d objects", len(got))
		}
	})
}

func TestEvictPartialBlobs(t *testing.T) {
	for _, test := range []struct {
		name    string
		what    func(s *shelf) string
		objects int
		bytes   int64
		left    map[string]int64
	}{
		{"by digest", func(s *shelf) string { return s.own.String() }, 1, 4, map[string]int64{"base": 3}},
		// The manifests of index and arm go, and what is left of arm's own layer; what is
		// left of the base, others need.
		{"by tag", func(*shelf) string { return "alpine:3.20" }, 3, -1, map[string]int64{"base": 3}},
		{"of another image", func(*shelf) string { return "busybox:1" }, 2, -1, map[string]int64{"base": 3, "own": 4}},
		{"needed, but named", func(s *shelf) string { return s.base.String() }, 1, 3, map[string]int64{"own": 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stock(t, func(t *testing.T, s *shelf) {
				s.suspended(s.own, 4)
				s.suspended(s.base, 3)
				before := s.store.Stats().Bytes
				change, err := s.cache.Evict(t.Context(), test.what(s))
				if test.bytes < 0 {
					test.bytes = before - s.store.Stats().Bytes
				}
				if err != nil || change != (cache.Change{Objects: test.objects, Bytes: test.bytes}) {
					t.Errorf("%+v, %v; want %d objects and %d bytes", change, err, test.objects, test.bytes)
				}
				if diff := cmp.Diff(test.left, s.partials()); diff != "" {
					t.Errorf("left (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// What is being fetched at the moment stays, and is an error only if it is named.
func TestEvictLeavesWhatIsBeingFetched(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		spool := s.interrupt(s.own, 4)
		if change, err := s.cache.Evict(t.Context(), s.own.String()); !errors.Is(err, blobstore.ErrInUse) || change.Objects != 0 {
			t.Errorf("by digest: %+v, %v", change, err)
		}
		if change, err := s.cache.Evict(t.Context(), "alpine:3.20"); err != nil || change.Objects != 2 {
			t.Errorf("by tag: %+v, %v", change, err)
		}
		if diff := cmp.Diff(map[string]int64{"own": 4}, s.partials()); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		if err := spool.Discard(); err != nil {
			t.Fatal(err)
		}
	})
}

// A pin has its place beside whole content.
func TestPinOfAPartialBlob(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		s.suspended(s.own, 4)
		if change, err := s.cache.Pin(t.Context(), s.own.String(), true); !errors.Is(err, blobstore.ErrNotFound) {
			t.Errorf("by digest: %+v, %v", change, err)
		}
		if change, err := s.cache.Pin(t.Context(), "alpine:3.20", true); err != nil || change.Objects != 4 {
			t.Errorf("by tag: %+v, %v", change, err)
		}
	})
}
