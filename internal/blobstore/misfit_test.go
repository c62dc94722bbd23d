package blobstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// One object that cannot be placed is that object's fault: the error has its path, others
// are kept, and the store has no trouble.
func TestF51_OneObjectThatCannotBePlaced(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		plant  func(t *testing.T, at place) string // what is in the way
		spools bool                                // a spool of it cannot be opened, and not that it cannot be committed
	}{
		{"a directory has its name", func(t *testing.T, at place) string {
			if err := os.MkdirAll(filepath.Join(at.blob, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			return at.blob
		}, false},
		{"a file has its folder's name", func(t *testing.T, at place) string {
			folder := filepath.Dir(at.blob)
			if err := errors.Join(os.MkdirAll(filepath.Dir(folder), 0o700), os.WriteFile(folder, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			return folder
		}, false},
		{"a directory has the name of its partial", func(t *testing.T, at place) string {
			if err := os.MkdirAll(filepath.Join(at.part, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			return at.part
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, Config{Dir: t.TempDir()})
			b, d := content(1, 1000)
			at, err := s.place(d)
			if err != nil {
				t.Fatal(err)
			}
			<-s.scanned // it sweeps what is empty
			path := tt.plant(t, at)
			if tt.spools {
				_, err = s.Spool(t.Context(), d)
			} else {
				err = s.Put(t.Context(), d, b, Meta{})
				sp := newSpool(t, s, d)
				fill(t, sp, b, 0, 1000, "")
				if err := sp.Commit(1000, Meta{}); err == nil {
					t.Error("it was committed")
				}
			}
			if err == nil || errors.Is(err, ErrFull) || errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), path) {
				t.Errorf("said %v, and nothing of %s", err, path)
			}
			if st := s.Stats(); st.Trouble != "" || st.Full || st.ReadOnly {
				t.Errorf("the store's trouble: %+v", st)
			}
			other := put(t, s, 2, 1000, Meta{})
			if len(read(t, s, other)) != 1000 {
				t.Error("another object is not kept")
			}
		})
	}
}

// Many objects that cannot be placed are the store's trouble, though its root can be written.
func TestF51_ManyObjectsAreTheStores(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := newStore(t, Config{Dir: dir})
		for i := range uint64(maxMisfits) {
			if st := s.Stats(); st.Trouble != "" {
				t.Errorf("after %d: %s", i, st.Trouble)
			}
			b, d := content(i, 100)
			at, err := s.place(d)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(at.blob, 0o700); err != nil {
				t.Fatal(err)
			}
			for range 2 { // twice is one
				if s.Put(t.Context(), d, b, Meta{}) == nil {
					t.Error("kept")
				}
			}
		}
		if st := s.Stats(); !strings.Contains(st.Trouble, "cannot be written") {
			t.Errorf("%+v", st)
		}
		put(t, s, 100, 100, Meta{})
		if st := s.Stats(); st.Trouble != "" {
			t.Errorf("after one that was kept: %s", st.Trouble)
		}
		time.Sleep(misfitAge + time.Second)
		b, d := content(0, 100)
		if err := s.Put(t.Context(), d, b, Meta{}); err == nil || s.Stats().Trouble != "" {
			t.Errorf("%v, %s", err, s.Stats().Trouble)
		}
	})
}

// A disk without inodes says so, and not that it is full with hundreds of MiB free.
func TestF50_NoInodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		free := int64(0)
		bad := &badDisk{free: 200 << 20, total: 1 << 30}
		d := bad.disk()
		d.files = func(string) (int64, int64, bool) { return free, 1024, true }
		s := newStoreOn(t, Config{Dir: t.TempDir()}, d)
		b, sum := content(1, 100)
		bad.set(syscall.ENOSPC, "create")
		wantErr(t, s.Put(t.Context(), sum, b, Meta{}), ErrFull)
		st := s.Stats()
		if !st.Full || !st.NoInodes || !strings.Contains(st.Trouble, "no inodes left (all of its 1024 files") || strings.Contains(st.Trouble, "MiB") {
			t.Errorf("%+v", st)
		}
		free = 10 // it was the bytes after all
		time.Sleep(retryAfter)
		wantErr(t, s.Put(t.Context(), sum, b, Meta{}), ErrFull)
		if st := s.Stats(); !st.Full || st.NoInodes || !strings.Contains(st.Trouble, "is full (200 MiB free") {
			t.Errorf("%+v", st)
		}
		bad.set(nil)
		time.Sleep(retryAfter)
		if err := s.Put(t.Context(), sum, b, Meta{}); err != nil || !bytes.Equal(read(t, s, sum), b) || s.Stats().Trouble != "" {
			t.Errorf("%v, %+v", err, s.Stats())
		}
	})
}
