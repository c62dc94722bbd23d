package blobstore

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// newSpool opens a spool.
func newSpool(t testing.TB, s *Store, d digest.Digest) *Spool {
	t.Helper()
	sp, err := s.Spool(t.Context(), d)
	if err != nil {
		t.Fatalf("Spool: %v", err)
	}
	return sp
}

// fill writes and records b[from:to].
func fill(t testing.TB, sp *Spool, b []byte, from, to int64, source string) {
	t.Helper()
	if n, err := sp.WriteAt(b[from:to], from); err != nil || int64(n) != to-from {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	if err := sp.Record(Extent{from, to, source}); err != nil {
		t.Fatalf("Record: %v", err)
	}
}

// files returns the names under a folder of the store.
func files(t testing.TB, s *Store, folder string) (names []string) {
	t.Helper()
	found, err := os.ReadDir(filepath.Join(s.dir, folder))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names
}

func TestSpoolCommits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	b, d := content(1, 300_000)
	sp := newSpool(t, s, d)
	if sp.Size() != -1 || len(sp.Extents()) != 0 {
		t.Fatalf("a new spool has %d bytes, %v", sp.Size(), sp.Extents())
	}
	if err := sp.SetSize(300_000); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Bytes != 300_000 || got.PartialBytes != 300_000 || got.Partial != 1 || got.Objects != 0 {
		t.Errorf("while it is on its way in: %+v", got)
	}
	fill(t, sp, b, 200_000, 300_000, "b")
	fill(t, sp, b, 0, 200_000, "a")
	part := make([]byte, 1000)
	if _, err := sp.ReadAt(part, 199_500); err != nil || !bytes.Equal(part, b[199_500:200_500]) {
		t.Errorf("ReadAt: %v", err)
	}
	reader, err := sp.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := sp.Commit(300_000, Meta{Public: true}); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, b) {
		t.Errorf("a reader lost it by the commit: %v", err)
	}
	if got := s.Stats(); got.Bytes != 300_000 || got.PartialBytes != 0 || got.Partial != 0 || got.Objects != 1 {
		t.Errorf("afterwards: %+v", got)
	}
	if info, ok := s.Stat(d); !ok || !info.Public || !info.Verified || info.Added.IsZero() {
		t.Errorf("Stat = %+v, %v", info, ok)
	}
	if left := files(t, s, partialDir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	_ = s.Close()
	if got := read(t, newStore(t, Config{Dir: dir}), d); !bytes.Equal(got, b) {
		t.Error("other bytes after a restart")
	}
}

func TestSpoolEndsOnce(t *testing.T) {
	t.Parallel()
	ends := map[string]func(*Spool) error{
		"commit":  func(sp *Spool) error { return sp.Commit(10, Meta{}) },
		"suspend": (*Spool).Suspend,
		"discard": (*Spool).Discard,
	}
	for name, end := range ends {
		s := newStore(t, Config{Dir: t.TempDir()})
		<-s.scanned
		b, d := content(1, 10)
		sp := newSpool(t, s, d)
		fill(t, sp, b, 0, 10, "")
		if err := end(sp); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := s.Stats()
		_, writeErr := sp.WriteAt(b, 5)
		_, readErr := sp.ReadAt(b, 0)
		_, readerErr := sp.Reader()
		for what, err := range map[string]error{
			"WriteAt": writeErr, "ReadAt": readErr, "Reader": readerErr, "SetSize": sp.SetSize(20), "Record": sp.Record(Extent{0, 1, ""}),
			"Reset": sp.Reset(), "Commit": sp.Commit(10, Meta{}), "Suspend": sp.Suspend(), "Discard": sp.Discard(),
		} {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s after %s: %v", what, name, err)
			}
		}
		if diff := cmp.Diff(before, s.Stats()); diff != "" {
			t.Errorf("%s: counted on (-want +got):\n%s", name, diff)
		}
	}
}

func TestOneSpoolADigest(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	_, d := content(1, 10)
	sp := newSpool(t, s, d)
	if _, err := s.Spool(t.Context(), d); err == nil {
		t.Fatal("two spools of one digest")
	}
	if got := s.Stats().Trouble; got != "" {
		t.Errorf("that is no trouble: %s", got)
	}
	if err := sp.Discard(); err != nil {
		t.Fatal(err)
	}
	if err := newSpool(t, s, d).Discard(); err != nil {
		t.Fatal(err)
	}
}

func TestSuspendedSpoolGoesOn(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		dir := t.TempDir()
		s := newStore(t, Config{Dir: dir})
		b, d := content(1, 5000)
		sp := newSpool(t, s, d)
		if err := sp.SetSize(5000); err != nil {
			t.Fatal(err)
		}
		fill(t, sp, b, 3000, 4000, "hub")
		fill(t, sp, b, 0, 1000, "a \"mirror\"\n")
		if err := sp.Suspend(); err != nil {
			t.Fatal(err)
		}
		if restart {
			_ = s.Close()
			s = newStore(t, Config{Dir: dir})
			<-s.scanned
		}
		if got := s.Stats(); got.Partial != 1 || got.PartialBytes != 2000 || got.Bytes != 2000 {
			t.Errorf("suspended: %+v", got)
		}
		sp = newSpool(t, s, d)
		if sp.Size() != 5000 {
			t.Errorf("Size = %d, want 5000", sp.Size())
		}
		want := []Extent{{0, 1000, "a \"mirror\"\n"}, {3000, 4000, "hub"}}
		if diff := cmp.Diff(want, sp.Extents()); diff != "" {
			t.Errorf("Extents (-want +got):\n%s", diff)
		}
		fill(t, sp, b, 1000, 3000, "x")
		fill(t, sp, b, 4000, 5000, "x")
		if err := sp.Commit(5000, Meta{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, s, d), b) {
			t.Error("other bytes")
		}
	}
}

func TestSuspendWithNothingKeepsNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	b, d := content(1, 100)
	sp := newSpool(t, s, d)
	if _, err := sp.WriteAt(b, 0); err != nil { // and not recorded
		t.Fatal(err)
	}
	if err := sp.Suspend(); err != nil {
		t.Fatal(err)
	}
	if left := files(t, s, partialDir); len(left) != 0 || s.Stats().Bytes != 0 {
		t.Errorf("left: %v, %+v", left, s.Stats())
	}
}

func TestResumeBelievesTheFileRatherThanTheJournal(t *testing.T) {
	t.Parallel()
	b, d := content(1, 5000)
	for _, c := range []struct {
		name   string
		damage func(part, log string) error
		want   []Extent
	}{
		{"file cut short", func(part, _ string) error { return os.Truncate(part, 3500) }, []Extent{{0, 1000, "a"}, {3000, 3500, "b"}}},
		{"file empty", func(part, _ string) error { return os.Truncate(part, 0) }, nil},
		{"file gone", func(part, _ string) error { return os.Remove(part) }, nil},
		{"journal gone", func(_, log string) error { return os.Remove(log) }, nil},
		{"journal empty", func(_, log string) error { return os.Truncate(log, 0) }, nil},
		{"journal torn", func(_, log string) error {
			st, err := os.Stat(log)
			if err != nil {
				return err
			}
			return os.Truncate(log, st.Size()-3)
		}, []Extent{{0, 1000, "a"}}},
		{"journal zeroed", func(_, log string) error { return os.WriteFile(log, make([]byte, 100), 0o600) }, nil},
		{"journal of another version", func(_, log string) error {
			return os.WriteFile(log, []byte("{\"v\":2}\n{\"to\":1000}\n"), 0o600)
		}, nil},
	} {
		for _, restart := range []bool{false, true} {
			s := newStore(t, Config{Dir: t.TempDir()})
			sp := newSpool(t, s, d)
			fill(t, sp, b, 0, 1000, "a")
			fill(t, sp, b, 3000, 4000, "b")
			if err := sp.Suspend(); err != nil {
				t.Fatal(err)
			}
			place, _ := s.place(d)
			if err := c.damage(place.part, place.log); err != nil {
				t.Fatal(err)
			}
			if restart {
				_ = s.Close()
				s = newStore(t, Config{Dir: s.dir})
				<-s.scanned
			}
			sp = newSpool(t, s, d)
			if diff := cmp.Diff(c.want, sp.Extents()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
			if got, want := s.Stats().PartialBytes, covered(c.want); got != want {
				t.Errorf("%s: counted %d bytes, want %d", c.name, got, want)
			}
			if err := sp.Discard(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestResetLeavesReadersTheirBytes(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	b, d := content(1, 1000)
	wrong := make([]byte, 1000)
	sp := newSpool(t, s, d)
	if err := sp.SetSize(1000); err != nil {
		t.Fatal(err)
	}
	fill(t, sp, wrong, 0, 1000, "liar")
	old, err := sp.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := sp.Reset(); err != nil {
		t.Fatal(err)
	}
	if len(sp.Extents()) != 0 || sp.Size() != 1000 {
		t.Errorf("after Reset: %v, size %d", sp.Extents(), sp.Size())
	}
	fill(t, sp, b, 0, 1000, "honest")
	if got, err := io.ReadAll(old); err != nil || !bytes.Equal(got, wrong) {
		t.Errorf("the old reader's bytes changed under it: %v", err)
	}
	fresh, err := sp.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if err := sp.Commit(1000, Meta{}); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(fresh); err != nil || !bytes.Equal(got, b) {
		t.Errorf("the new reader got something else: %v", err)
	}
	if !bytes.Equal(read(t, s, d), b) || s.Stats().Bytes != 1000 {
		t.Errorf("stored something else: %+v", s.Stats())
	}
}

func TestCommitOfTheWrongLength(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	b, d := content(1, 1000)
	sp := newSpool(t, s, d)
	fill(t, sp, b, 0, 900, "")
	if err := sp.Commit(1000, Meta{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a blob with 100 bytes too few: %v", err)
	}
	if st := s.Stats(); has(s, d) || st.Partial != 0 || st.Bytes != 0 || st.Trouble != "" {
		t.Errorf("%+v", st)
	}
	sp = newSpool(t, s, d)
	fill(t, sp, append(slices.Clone(b), "junk"...), 0, 1004, "")
	if err := sp.Commit(1000, Meta{}); err != nil || !bytes.Equal(read(t, s, d), b) {
		t.Errorf("what lies beyond the end is not cut: %v", err)
	}
}

func TestUnfinishedGoesFirst(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir(), MaxSize: 10_000})
	<-s.scanned
	whole := put(t, s, 1, 4000, Meta{})
	var digests []digest.Digest
	for i := range 3 {
		b, d := content(uint64(10+i), 2000)
		sp := newSpool(t, s, d)
		fill(t, sp, b, 0, 1500, "")
		if i < 2 {
			if err := sp.Suspend(); err != nil {
				t.Fatal(err)
			}
		} else {
			defer sp.Discard()
		}
		digests = append(digests, d)
		time.Sleep(time.Millisecond) // so that their times differ
	}
	put(t, s, 2, 2500, Meta{})
	if got := s.Stats(); got.Partial != 2 || got.Bytes != 9500 {
		t.Errorf("the oldest one should have gone, alone: %+v", got)
	}
	put(t, s, 3, 1800, Meta{})
	if got := s.Stats(); got.Partial != 1 || got.Bytes != 9800 || !has(s, whole) {
		t.Errorf("the other one should have gone: %+v", got)
	}
	put(t, s, 4, 1000, Meta{})
	if got := s.Stats(); got.Partial != 1 || has(s, whole) {
		t.Errorf("what is open should have stayed: %+v", got)
	}
	if got := files(t, s, partialDir); len(got) != 2 {
		t.Errorf("files of %v: %v", digests, got)
	}
}
