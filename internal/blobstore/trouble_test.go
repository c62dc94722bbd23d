package blobstore

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A badDisk fails what it is told to, and has as much room as it is told.
type badDisk struct {
	mu          sync.Mutex
	fail        map[string]error // by op
	tried       int
	free, total int64
	onFault     func() // called with each fault
}

func (b *badDisk) disk() disk {
	return disk{
		space: func(string) (int64, int64, bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.free, b.total, b.total > 0
		},
		fault: func(op, path string) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			err := b.fail[op]
			if err == nil {
				return nil
			}
			b.tried++
			if b.onFault != nil {
				b.onFault()
			}
			return &os.PathError{Op: op, Path: path, Err: err}
		},
	}
}

// set makes ops fail with err, or work when it is nil.
func (b *badDisk) set(err error, ops ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = map[string]error{}
	for _, op := range ops {
		b.fail[op] = err
	}
}

var everyWrite = []string{"create", "write", "sync", "rename", "remove", "mkdir"}

func TestDiskThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		errno error
		want  error
		text  []string
	}{
		{syscall.EACCES, ErrReadOnly, []string{"cannot be written (permission denied)", "let the user"}},
		{syscall.EPERM, ErrReadOnly, []string{"cannot be written (operation not permitted)"}},
		{syscall.EROFS, ErrReadOnly, []string{"cannot be written (read-only file system)", "mount it writable"}},
		{syscall.ENOSPC, ErrFull, []string{"is full", "free some space"}},
		{syscall.EDQUOT, ErrFull, []string{"over its disk quota"}},
		{syscall.EIO, syscall.EIO, []string{"cannot be written (input/output error)"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			bad := &badDisk{}
			s := newStoreOn(t, Config{Dir: t.TempDir()}, bad.disk())
			old := put(t, s, 1, 100, Meta{})
			b, d := content(2, 100)
			bad.set(c.errno, everyWrite...)
			wantErr(t, s.Put(t.Context(), d, b, Meta{}), c.want)
			wantErr(t, s.Put(t.Context(), d, b, Meta{}), c.want)
			_, err := s.Spool(t.Context(), d)
			wantErr(t, err, c.want)
			st := s.Stats()
			for _, part := range append(c.text, "pulls go on", s.dir) {
				if !strings.Contains(st.Trouble, part) {
					t.Errorf("%v: trouble %q says nothing of %q", c.errno, st.Trouble, part)
				}
			}
			if st.ReadOnly != (c.want == ErrReadOnly) || st.Full != (c.want == ErrFull) {
				t.Errorf("%v: %+v", c.errno, st)
			}
			if c.want == ErrReadOnly && len(read(t, s, old)) != 100 {
				t.Error("what is there is not served")
			}
			bad.set(nil)
			time.Sleep(retryAfter)
			if err := s.Put(t.Context(), d, b, Meta{}); err != nil || !bytes.Equal(read(t, s, d), b) {
				t.Errorf("%v: not tried again: %v", c.errno, err)
			}
			if st := s.Stats(); st.Trouble != "" || st.Full || st.ReadOnly {
				t.Errorf("%v: the trouble does not end: %+v", c.errno, st)
			}
		})
	}
}

func TestTriesSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad := &badDisk{}
		s := newStoreOn(t, Config{Dir: t.TempDir()}, bad.disk())
		bad.set(syscall.EROFS, everyWrite...)
		b, d := content(1, 100)
		for range 100 {
			wantErr(t, s.Put(t.Context(), d, b, Meta{}), ErrReadOnly)
			_, err := s.Spool(t.Context(), d)
			wantErr(t, err, ErrReadOnly)
			wantErr(t, s.PutRecord(t.Context(), "tag", "x", b), ErrReadOnly)
			time.Sleep(100 * time.Millisecond)
		}
		if bad.tried > 2*5 {
			t.Errorf("the disk was tried %d times in 10 s", bad.tried)
		}
	})
}

// A disk on the brink fails and works in turn. The log has it once.
func TestTroubleIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		bad := &badDisk{free: 1 << 30, total: 1 << 30}
		s := newStoreOn(t, Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))}, bad.disk())
		b, d := content(1, 10)
		put(t, s, 2, 10, Meta{})
		for i := range 20 {
			bad.set(syscall.ENOSPC, "write")
			bad.free -= 1 << 20 // the text for people changes
			wantErr(t, s.Put(t.Context(), d, b, Meta{}), ErrFull)
			bad.set(nil)
			time.Sleep(retryAfter)
			put(t, s, uint64(10+i), 10, Meta{})
		}
		if got := strings.Count(log.String(), "level="); got != 1 || !strings.Contains(log.String(), "free some space") {
			t.Errorf("the log has %d lines:\n%s", got, &log)
		}
		time.Sleep(calm)
		put(t, s, 100, 10, Meta{})
		put(t, s, 101, 10, Meta{})
		if got := strings.Count(log.String(), "level="); got != 2 || !strings.Contains(log.String(), "level=INFO") {
			t.Errorf("afterwards the log has %d lines:\n%s", got, &log)
		}
	})
}

func TestFullDiskIsMetByEvicting(t *testing.T) {
	t.Parallel()
	bad := &badDisk{free: 1 << 40, total: 1 << 40}
	s := newStoreOn(t, Config{Dir: t.TempDir(), MaxSize: 10 << 20}, bad.disk())
	<-s.scanned
	pinned := put(t, s, 1, 1000, Meta{Pinned: true})
	old := put(t, s, 2, 1000, Meta{})
	bad.set(syscall.ENOSPC, "write")
	bad.onFault = func() { delete(bad.fail, "write") } // the next write works
	b, d := content(3, 1000)
	sp := newSpool(t, s, d)
	if got := s.Stats(); got.Evictions != 1 || got.ForDisk != 1 || has(s, old) || !has(s, pinned) {
		t.Errorf("the journal found no room: %+v", got)
	}
	old = put(t, s, 4, 1000, Meta{})
	bad.set(syscall.EDQUOT, "write")
	if n, err := sp.WriteAt(b, 0); n != 1000 || err != nil {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if has(s, old) || s.Stats().Trouble != "" {
		t.Errorf("%+v", s.Stats())
	}
	bad.onFault = nil
	bad.set(syscall.ENOSPC, "write")
	_, err := sp.WriteAt(b, 0)
	wantErr(t, err, ErrFull)
	wantErr(t, err, syscall.ENOSPC)
	if got := make([]byte, 1000); true {
		if _, err := sp.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
			t.Errorf("what was spooled cannot be read: %v", err)
		}
	}
	bad.set(nil)
	if err := sp.Record(Extent{0, 1000, ""}); err != nil {
		t.Errorf("the journal does not go on: %v", err)
	}
	if err := sp.Commit(1000, Meta{}); err != nil || !bytes.Equal(read(t, s, d), b) {
		t.Errorf("Commit after all: %v", err)
	}
}

func TestRoomIsLeftToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad := &badDisk{free: 1 << 30, total: 1 << 30}
		s := newStoreOn(t, Config{Dir: t.TempDir(), MaxSize: 1 << 30}, bad.disk())
		<-s.scanned
		var old [3]string
		for i := range old {
			old[i] = string(put(t, s, uint64(i), 10_000, Meta{}))
		}
		keep := keepFree(1 << 30)
		bad.free = keep + 5000
		_, d := content(9, 1)
		sp := newSpool(t, s, d)
		defer sp.Discard()
		if err := sp.SetSize(12_000); err != nil {
			t.Fatalf("7000 bytes short, and 30000 could go: %v", err)
		}
		if got := s.Stats().Evictions; got != 1 {
			t.Errorf("%d were evicted, want 1", got)
		}
		_, d2 := content(10, 1)
		sp2 := newSpool(t, s, d2)
		defer sp2.Discard()
		wantErr(t, sp2.SetSize(40_000), ErrFull)
		if st := s.Stats(); st.Evictions != 1 || !st.Full || st.Trouble == "" || st.PartialBytes != 12_000 {
			t.Errorf("what cannot help should not go: %+v", st)
		}
		time.Sleep(retryAfter)
		b, small := content(11, 10)
		bad.free = keep + 12_010
		if err := s.Put(t.Context(), small, b, Meta{}); err != nil {
			t.Errorf("with just enough: %v", err)
		}
		if st := s.Stats(); st.Full || st.Evictions != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAllPinnedOrInUse(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir(), MaxSize: 3000})
	<-s.scanned
	pinned := put(t, s, 1, 1000, Meta{Pinned: true})
	opened := put(t, s, 2, 1000, Meta{})
	o, err := s.Open(opened)
	if err != nil {
		t.Fatal(err)
	}
	idle := put(t, s, 3, 1000, Meta{})
	b, d := content(4, 1500)
	wantErr(t, s.Put(t.Context(), d, b, Meta{}), ErrFull)
	if st := s.Stats(); !has(s, idle) || !st.Full || !strings.Contains(st.Trouble, "pinned or in use") {
		t.Errorf("%+v", st)
	}
	wantErr(t, s.Put(t.Context(), d, make([]byte, 3001), Meta{}), ErrFull)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), d, b, Meta{}); err != nil {
		t.Fatalf("after its reader has left: %v", err)
	}
	if st := s.Stats(); has(s, opened) || has(s, idle) || !has(s, pinned) || st.Full || st.Trouble != "" {
		t.Errorf("%+v", st)
	}
	if err := s.Update(pinned, func(m *Meta) { m.Pinned = false }); err != nil {
		t.Fatal(err)
	}
	put(t, s, 5, 3000, Meta{})
	if st := s.Stats(); st.Objects != 1 || st.PinnedBytes != 0 || st.Bytes != 3000 {
		t.Errorf("after unpinning: %+v", st)
	}
}

func TestDirectoryThatCannotBeMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "deep", "cache")
		bad := &badDisk{}
		bad.set(syscall.EACCES, everyWrite...)
		s := newStoreOn(t, Config{Dir: dir}, bad.disk())
		if st := s.Stats(); !st.ReadOnly || st.Trouble == "" {
			t.Errorf("%+v", st)
		}
		b, d := content(1, 10)
		wantErr(t, s.Put(t.Context(), d, b, Meta{}), ErrReadOnly)
		_, err := s.Open(d)
		wantErr(t, err, ErrNotFound)
		bad.set(nil)
		time.Sleep(retryAfter)
		if err := s.Put(t.Context(), d, b, Meta{}); err != nil {
			t.Fatal(err)
		}
		if _, err := open(Config{Dir: dir}, disk{space: roomy}); !errors.Is(err, ErrLocked) {
			t.Errorf("the lock was not taken later: %v", err)
		}
		if st := s.Stats(); st.ReadOnly || st.Trouble != "" {
			t.Errorf("%+v", st)
		}
	})
}

func TestReadOnlyStoreServes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	d := put(t, s, 1, 1000, Meta{Public: true})
	_ = s.Close()
	bad := &badDisk{}
	bad.set(syscall.EROFS, everyWrite...)
	s = newStoreOn(t, Config{Dir: dir}, bad.disk())
	if got := read(t, s, d); len(got) != 1000 {
		t.Error("not served")
	}
	wantErr(t, s.Update(d, func(m *Meta) { m.Public = false }), ErrReadOnly)
	if info, _ := s.Stat(d); info.Public {
		t.Error("the change should hold, though it cannot be written")
	}
	wantErr(t, s.Remove(d), ErrReadOnly)
	if has(s, d) {
		t.Error("it should be gone, though its file cannot be removed")
	}
}

func TestFailedCommit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op      string
		partial int // kept for another attempt
	}{{"sync", 0}, {"rename", 1}} {
		bad := &badDisk{}
		s := newStoreOn(t, Config{Dir: t.TempDir()}, bad.disk())
		b, d := content(1, 1000)
		sp := newSpool(t, s, d)
		fill(t, sp, b, 0, 1000, "")
		bad.set(syscall.EIO, c.op)
		wantErr(t, sp.Commit(1000, Meta{}), syscall.EIO)
		bad.set(nil)
		if st := s.Stats(); has(s, d) || st.Objects != 0 || st.Partial != c.partial || st.PartialBytes != int64(1000*c.partial) {
			t.Errorf("%s: %+v", c.op, st)
		}
		sp = newSpool(t, s, d)
		if got := covered(sp.Extents()); got != int64(1000*c.partial) {
			t.Errorf("%s: %d bytes are left", c.op, got)
		}
		fill(t, sp, b, 0, 1000, "")
		if err := sp.Commit(1000, Meta{}); err != nil {
			t.Errorf("%s: %v", c.op, err)
		}
	}
}
