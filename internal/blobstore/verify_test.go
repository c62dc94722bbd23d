package blobstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	right, wrong, short := put(t, s, 1, 1000, Meta{}), put(t, s, 2, 2000, Meta{Pinned: true}), put(t, s, 3, 3000, Meta{})
	if err := os.WriteFile(s.blobPath(wrong), make([]byte, 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	s = newStore(t, Config{Dir: dir})
	<-s.scanned
	if err := os.Truncate(s.blobPath(short), 5); err != nil {
		t.Fatal(err)
	}
	got := map[digest.Digest]string{}
	err := s.Verify(t.Context(), func(f Finding) {
		got[f.Digest] = "right"
		if f.Err != nil {
			got[f.Digest] = "wrong"
		}
	})
	want := map[digest.Digest]string{right: "right", wrong: "wrong", short: "wrong"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if info, ok := s.Stat(right); !ok || !info.Verified {
		t.Errorf("%+v, %v", info, ok)
	}
	if has(s, wrong) || has(s, short) || len(files(t, s, corruptDir)) != 2 || s.Stats().Corrupt != 2 {
		t.Errorf("%+v, %v", s.Stats(), files(t, s, corruptDir))
	}
	// A pin is for the content: the right bytes are pinned when they come.
	if put(t, s, 2, 2000, Meta{}); s.Stats().PinnedBytes != 2000 {
		t.Errorf("%+v", s.Stats())
	}
	if put(t, s, 3, 3000, Meta{}); s.Stats().PinnedBytes != 2000 {
		t.Errorf("%+v", s.Stats())
	}
}

func TestVerifyEndsEarly(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	for i := range 10 {
		put(t, s, uint64(i), 10, Meta{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := s.Verify(ctx, func(Finding) {
		n++
		cancel()
	})
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("%d findings, %v", n, err)
	}
	if st := s.Stats(); st.Objects != 10 {
		t.Errorf("%+v", st)
	}
}

func TestGC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{Dir: t.TempDir()})
		<-s.scanned // or the scan sweeps what the GC is to find
		keep := put(t, s, 1, 1000, Meta{})
		gone := put(t, s, 2, 1000, Meta{})
		if err := s.Quarantine(put(t, s, 3, 300, Meta{}), errors.New("wrong")); err != nil {
			t.Fatal(err)
		}
		b, d := content(4, 500)
		sp := newSpool(t, s, d)
		fill(t, sp, b, 0, 70, "")
		if err := sp.Suspend(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(s.blobPath(gone)); err != nil {
			t.Fatal(err)
		}
		temp := filepath.Join(filepath.Dir(s.blobPath(keep)), ".tmp-elsewhere-1")
		if err := os.WriteFile(temp, make([]byte, 5), 0o600); err != nil {
			t.Fatal(err)
		}
		freed, err := s.GC(t.Context())
		if err != nil || freed != 305 {
			t.Errorf("freed %d, %v; want the 300 quarantined and the 5 of a temporary file", freed, err)
		}
		if st := s.Stats(); st.Objects != 1 || st.Partial != 1 || has(s, gone) {
			t.Errorf("%+v", st)
		}
		time.Sleep(partialAge + 2*time.Hour) // the store sweeps by itself
		synctest.Wait()
		if st := s.Stats(); st.Partial != 0 || st.PartialBytes != 0 || len(files(t, s, partialDir)) != 0 {
			t.Errorf("%+v, %v", st, files(t, s, partialDir))
		}
		if len(read(t, s, keep)) != 1000 {
			t.Error("content has gone")
		}
	})
}
