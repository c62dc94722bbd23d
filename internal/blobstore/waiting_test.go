package blobstore

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A writer is a way to store something that needs room.
type writer struct {
	name string
	need func(ctx context.Context, s *Store) error
}

// writers are all that may have to evict. A Spool that opened while there was room
// keeps the context that it was opened with.
var writers = []writer{
	{"put", func(ctx context.Context, s *Store) error {
		b, d := content(1, 100)
		return s.Put(ctx, d, b, Meta{})
	}},
	{"record", func(ctx context.Context, s *Store) error { return s.PutRecord(ctx, "tag", "x", make([]byte, 100)) }},
	{"spool", func(ctx context.Context, s *Store) error {
		_, d := content(1, 100)
		sp, err := s.Spool(ctx, d)
		if err == nil {
			err = sp.Discard()
		}
		return err
	}},
}

// fullUnscanned returns a store whose disk is full and whose directory, in which
// there is something to evict, has not been read.
func fullUnscanned(t *testing.T) (*Store, *badDisk) {
	t.Helper()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	put(t, s, 9, 1000, Meta{})
	_ = s.Close()
	bad := &badDisk{free: 1 << 40, total: 1 << 40}
	s, err := prepared(Config{Dir: dir}, bad.disk())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	bad.set(syscall.ENOSPC, "write", "create")
	return s, bad
}

// needing lets w wait for room, and returns how that ends.
func needing(ctx context.Context, t *testing.T, w writer, s *Store) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- w.need(ctx, s) }()
	synctest.Wait()
	select {
	case err := <-done:
		t.Fatalf("%s does not wait for the directory to be read: %v", w.name, err)
	default:
	}
	return done
}

// On a full disk a writer waits for the scan, which knows what may go, no longer
// than its caller wants it to. That is no trouble of the store's.
func TestWaitForTheScanEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	for _, w := range writers {
		synctest.Test(t, func(t *testing.T) {
			s, _ := fullUnscanned(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			done := needing(ctx, t, w, s)
			left := errors.New("the client has left")
			cancel(left)
			err := <-done
			wantErr(t, err, ErrFull)
			wantErr(t, err, left)
			if st := s.Stats(); st.Trouble != "" || st.Full {
				t.Errorf("%s: %+v", w.name, st)
			}
		})
	}
}

// Nor longer than a reader would wait for bytes: a blob on its way in has no caller.
func TestWaitForTheScanEnds(t *testing.T) {
	t.Parallel()
	for _, w := range writers {
		synctest.Test(t, func(t *testing.T) {
			s, _ := fullUnscanned(t)
			began := time.Now()
			done := needing(t.Context(), t, w, s)
			wantErr(t, <-done, ErrFull)
			if waited := time.Since(began); waited != scanPatience {
				t.Errorf("%s waited for %v", w.name, waited)
			}
		})
	}
}

func TestWaitForTheScanEndsWithTheStore(t *testing.T) {
	t.Parallel()
	for _, w := range writers {
		synctest.Test(t, func(t *testing.T) {
			s, _ := fullUnscanned(t)
			ctx, stop := context.WithCancel(t.Context())
			s.stop = stop
			s.work.Go(func() { // a scan that gets nowhere
				<-ctx.Done()
				scanner{s}.scan(ctx)
			})
			done := needing(t.Context(), t, w, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			err := <-done
			wantErr(t, err, ErrFull)
			wantErr(t, err, os.ErrClosed)
		})
	}
}

func TestWaitForTheScanIsWorthIt(t *testing.T) {
	t.Parallel()
	for _, w := range writers {
		synctest.Test(t, func(t *testing.T) {
			s, bad := fullUnscanned(t)
			done := needing(t.Context(), t, w, s)
			bad.set(nil)
			scanner{s}.scan(t.Context())
			if err := <-done; err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
			if st := s.Stats(); st.Evictions != 1 || st.Trouble != "" {
				t.Errorf("%s: %+v", w.name, st)
			}
		})
	}
}

// The methods of a Spool have no context of their own: that of the Spool ends
// their waits, and nothing else.
func TestSpoolWaitsWithItsContext(t *testing.T) {
	t.Parallel()
	b, d := content(1, 1000)
	for _, step := range []struct {
		name string
		need func(*Spool) error
		free int64 // of the disk, when it comes to that
	}{
		{"write", func(sp *Spool) error {
			_, err := sp.WriteAt(b[500:], 500)
			return err
		}, 1 << 40},
		{"record", func(sp *Spool) error { return sp.Record(Extent{0, 400, "b"}) }, 1 << 40},
		{"size", func(sp *Spool) error { return sp.SetSize(1000) }, 500},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, bad := fullUnscanned(t)
			bad.set(nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sp, err := s.Spool(ctx, d)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, sp, b, 0, 500, "a")
			bad.free = step.free
			if step.free > 500 {
				bad.set(syscall.ENOSPC, "write")
			}
			w := writer{step.name, func(context.Context, *Store) error { return step.need(sp) }}
			done := needing(t.Context(), t, w, s)
			cancel()
			err = <-done
			wantErr(t, err, ErrFull)
			wantErr(t, err, context.Canceled)

			bad.set(nil)
			bad.free = 1 << 40
			fill(t, sp, b, 500, 1000, "a")
			if err := sp.Commit(1000, Meta{}); err != nil || !has(s, d) {
				t.Errorf("Commit after %s: %v", step.name, err)
			}
		})
	}
}
