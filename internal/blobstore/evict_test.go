package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// The same as TestFloodOfOneTimers with files.
func TestWorkingSetOutlivesAFlood(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir(), MaxSize: 100_000})
	<-s.scanned
	var set []digest.Digest
	for i := range 50 {
		d := put(t, s, uint64(i), 1000, Meta{})
		set = append(set, d)
		s.Touch(d)
	}
	for i := range 300 {
		put(t, s, uint64(1000+i), 1000, Meta{})
	}
	kept := 0
	for _, d := range set {
		if has(s, d) {
			kept++
		}
	}
	if kept != len(set) {
		t.Errorf("%d of %d are left", kept, len(set))
	}
	if st := s.Stats(); st.Bytes > 100_000 || st.Evictions < 200 || st.ForDisk != 0 {
		t.Errorf("%+v", st)
	}
}

func TestWhatIsOpenOrPinnedOutlivesAFlood(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir(), MaxSize: 20_000})
	<-s.scanned
	opened, pinned, closed := put(t, s, 1, 1000, Meta{}), put(t, s, 2, 1000, Meta{Pinned: true}), put(t, s, 3, 1000, Meta{})
	o, err := s.Peek(opened) // not a use, which would save it as well
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		put(t, s, uint64(100+i), 1000, Meta{})
	}
	if !has(s, opened) || !has(s, pinned) || has(s, closed) {
		t.Errorf("open: %v, pinned: %v, neither: %v", has(s, opened), has(s, pinned), has(s, closed))
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(pinned, func(m *Meta) { m.Pinned = false }); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		d := put(t, s, uint64(300+i), 1000, Meta{})
		for range maxFreq {
			s.Touch(d) // so that main fills and what was parked there goes
		}
	}
	if has(s, opened) || has(s, pinned) {
		t.Errorf("no reader holds them any more, and open: %v, pinned: %v", has(s, opened), has(s, pinned))
	}
}

// Between picking and unlinking, content may come back. Then its files are the
// new ones.
func TestVictimThatComesBack(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	<-s.scanned
	b, d := content(1, 1000)
	put(t, s, 1, 1000, Meta{})
	part, d2 := content(2, 1000)
	sp := newSpool(t, s, d2)
	fill(t, sp, part, 0, 500, "")
	if err := sp.Suspend(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	victims := s.index.pick(1500)
	s.mu.Unlock()
	if has(s, d) || len(victims) != 2 || s.Stats().Bytes != 0 {
		t.Fatalf("%v, %+v", victims, s.Stats())
	}
	put(t, s, 1, 1000, Meta{})
	sp = newSpool(t, s, d2)
	if freed := s.unlinkAll(victims); freed != 0 {
		t.Errorf("freed %d", freed)
	}
	if !bytes.Equal(read(t, s, d), b) {
		t.Error("other bytes")
	}
	fill(t, sp, part, 500, 1000, "")
	if err := sp.Commit(1000, Meta{}); err != nil || !bytes.Equal(read(t, s, d2), part) {
		t.Errorf("the spool lost its file: %v", err)
	}
	checkFiles(t, s)
}

func TestRestartRemembersWhatWasUsedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir, MaxSize: 100_000})
	var set, once []digest.Digest
	for i := range 40 {
		d := put(t, s, uint64(i), 1000, Meta{})
		set = append(set, d)
		used := time.Now().Add(time.Hour)
		if err := os.Chtimes(s.blobPath(d), used, used); err != nil {
			t.Fatal(err)
		}
		once = append(once, put(t, s, uint64(100+i), 1000, Meta{}))
	}
	_ = s.Close()
	s = newStore(t, Config{Dir: dir, MaxSize: 100_000})
	<-s.scanned
	for i := range 100 {
		put(t, s, uint64(1000+i), 1000, Meta{})
	}
	for _, d := range set {
		if !has(s, d) {
			t.Fatal("what was used again has gone")
		}
	}
	for _, d := range once {
		if has(s, d) {
			t.Fatal("what was used once is still there")
		}
	}
}

func TestSmallerLimitAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	pinned := put(t, s, 0, 1000, Meta{Pinned: true})
	for i := range 20 {
		put(t, s, uint64(1+i), 1000, Meta{})
	}
	_ = s.Close()
	s = newStore(t, Config{Dir: dir, MaxSize: 5000})
	<-s.scanned
	if st := s.Stats(); st.Bytes != 5000 || !has(s, pinned) {
		t.Errorf("%+v", st)
	}
	s.SetMaxSize(3000)
	if st := s.Stats(); st.Bytes != 3000 || st.Limit != 3000 {
		t.Errorf("%+v", st)
	}
	_ = s.Close()
	s = newStore(t, Config{Dir: dir, MaxSize: 500})
	<-s.scanned
	if st := s.Stats(); st.Bytes != 1000 || !has(s, pinned) {
		t.Errorf("what is pinned has gone: %+v", st)
	}
}

// Many goroutines do everything at once. What is open keeps its bytes, what is
// pinned stays, the total never passes the limit, and in the end index and files
// agree.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	const limit = 200_000
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir, MaxSize: limit})
	<-s.scanned // only then the limit holds
	var pinned []digest.Digest
	for i := range 5 {
		pinned = append(pinned, put(t, s, uint64(10_000+i), 1000, Meta{Pinned: true}))
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	var work sync.WaitGroup
	var puts, opens, spools atomic.Int64
	for worker := range uint64(8) {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(worker, 4))
			for ctx.Err() == nil || puts.Load() == 0 || opens.Load() == 0 || spools.Load() == 0 { // a busy machine does little in a second
				seed := rng.Uint64N(100)
				b, d := content(seed, 1+int(seed)*100)
				if err := concurrentStep(s, rng, b, d, &puts, &opens, &spools); err != nil {
					t.Error(err)
					return
				}
				if got := s.Stats().Bytes; got > limit {
					t.Errorf("%d bytes, the limit is %d", got, limit)
					return
				}
			}
		})
	}
	work.Wait()
	if puts.Load() == 0 || opens.Load() == 0 || spools.Load() == 0 {
		t.Errorf("%d puts, %d opens, %d spools", puts.Load(), opens.Load(), spools.Load())
	}
	for _, d := range pinned {
		if !has(s, d) {
			t.Error("what is pinned has gone")
		}
	}
	checkFiles(t, s)
	before := s.Stats()
	_ = s.Close()
	s = newStore(t, Config{Dir: dir, MaxSize: limit})
	<-s.scanned
	if after := s.Stats(); after.Bytes != before.Bytes || after.Objects != before.Objects || after.Partial != before.Partial {
		t.Errorf("before a restart %+v, after it %+v", before, after)
	}
	checkFiles(t, s)
}

// concurrentStep does one thing with d.
func concurrentStep(s *Store, rng *rand.Rand, b []byte, d digest.Digest, puts, opens, spools *atomic.Int64) error {
	switch rng.IntN(8) {
	case 0:
		puts.Add(1)
		if err := s.Put(context.Background(), d, b, Meta{}); err != nil && !errors.Is(err, ErrFull) {
			return err
		}
	case 1:
		_ = s.Remove(d)
	case 2:
		s.Touch(d)
		if err := s.Update(d, func(m *Meta) { m.Public = !m.Public }); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	case 3:
		spools.Add(1)
		return spoolStep(s, rng, b, d)
	case 4:
		if rng.IntN(20) == 0 {
			_ = s.Quarantine(d, errors.New("a whim"))
		}
	default:
		o, err := s.Open(d)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		opens.Add(1)
		got := make([]byte, len(b))
		if _, err := o.File.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
			return fmt.Errorf("%s has other bytes: %w", d, err)
		}
		return o.Close()
	}
	return nil
}

// spoolStep takes a spool of d some of the way.
func spoolStep(s *Store, rng *rand.Rand, b []byte, d digest.Digest) error {
	sp, err := s.Spool(context.Background(), d)
	if err != nil {
		return nil // another step has it
	}
	if err := sp.SetSize(int64(len(b))); err != nil {
		return sp.Discard()
	}
	for _, e := range sp.Extents() {
		got := make([]byte, e.To-e.From)
		if _, err := sp.ReadAt(got, e.From); err != nil || !bytes.Equal(got, b[e.From:e.To]) {
			return errors.Join(fmt.Errorf("a resumed spool has other bytes: %w", err), sp.Discard())
		}
	}
	half := int64(len(b) / 2)
	if _, err := sp.WriteAt(b[half:], half); err != nil {
		return sp.Discard()
	}
	if err := sp.Record(Extent{half, int64(len(b)), "x"}); err != nil {
		return errors.Join(err, sp.Discard())
	}
	switch rng.IntN(3) {
	case 0:
		return sp.Suspend()
	case 1:
		return sp.Discard()
	}
	if _, err := sp.WriteAt(b[:half], 0); err != nil {
		return sp.Discard()
	}
	return sp.Commit(int64(len(b)), Meta{})
}

// checkFiles compares the index with the directory, file by file.
func checkFiles(t *testing.T, s *Store) {
	t.Helper()
	onDisk := 0
	for _, folder := range s.shards() {
		found, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		onDisk += len(found)
	}
	objects := 0
	for info := range s.All(t.Context()) {
		objects++
		st, err := os.Stat(s.blobPath(info.Digest))
		if err != nil || st.Size() != info.Size {
			t.Errorf("%s: %v", info.Digest, err)
		}
	}
	if onDisk != 2*objects {
		t.Errorf("%d objects and %d files", objects, onDisk)
	}
	if st := s.Stats(); len(files(t, s, partialDir)) != 2*st.Partial {
		t.Errorf("%d partial blobs and %d files", st.Partial, len(files(t, s, partialDir)))
	}
	if err := s.Verify(t.Context(), func(f Finding) {
		if f.Err != nil {
			t.Errorf("%s: %v", f.Digest, f.Err)
		}
	}); err != nil {
		t.Error(err)
	}
}
