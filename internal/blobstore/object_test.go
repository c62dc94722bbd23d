package blobstore

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestPutThenOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	b, d := content(1, 5000)
	meta := Meta{MediaType: "application/x", Public: true, Repos: map[string]time.Time{"docker.io/library/a": time.Unix(100, 0).UTC()}}
	if err := s.Put(t.Context(), d, b, meta); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store, verified bool) {
		t.Helper()
		if got := read(t, s, d); !bytes.Equal(got, b) {
			t.Fatal("other bytes came back")
		}
		info, ok := s.Stat(d)
		if !ok || info.Size != 5000 || info.Digest != d || info.Verified != verified {
			t.Fatalf("Stat = %+v, %v", info, ok)
		}
		got := info.Meta
		if got.Added.IsZero() {
			t.Error("Added is not set")
		}
		got.Added = time.Time{}
		if diff := cmp.Diff(meta, got); diff != "" {
			t.Errorf("Meta (-want +got):\n%s", diff)
		}
	}
	check(s, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := newStore(t, Config{Dir: dir})
	check(again, false)
	again.MarkVerified(d)
	check(again, true)
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	_, absent := content(1, 10)
	for _, d := range []digest.Digest{absent, "", "sha256:", "sha256:../../../etc/passwd", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		_, err := s.Open(d)
		wantErr(t, err, ErrNotFound)
		wantErr(t, s.Remove(d), ErrNotFound)
		wantErr(t, s.Update(d, func(*Meta) { t.Error("called") }), ErrNotFound)
		wantErr(t, s.Quarantine(d, errors.New("x")), ErrNotFound)
		if has(s, d) {
			t.Errorf("Stat found %q", d)
		}
		s.Touch(d)
		s.MarkVerified(d)
	}
}

func TestStrictDigests(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	hex := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, d := range []digest.Digest{
		"", "x", "sha256:", digest.Digest("sha256:" + hex[1:]), digest.Digest("sha256:" + hex + "0"),
		"sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
		"sha256:../456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		digest.Digest("sha512:" + hex), digest.Digest("sha384:" + hex + hex[:32]), digest.Digest("SHA256:" + hex),
		digest.Digest("sha256:" + hex[:63] + "\x00"), digest.Digest("../x:" + hex),
	} {
		if err := s.Put(t.Context(), d, nil, Meta{}); err == nil {
			t.Errorf("Put took %q", d)
		}
		if sp, err := s.Spool(t.Context(), d); err == nil {
			t.Errorf("Spool took %q", d)
			_ = sp.Discard()
		}
	}
	for _, d := range []digest.Digest{digest.Digest("sha256:" + hex), digest.Digest("sha512:" + hex + hex)} {
		if err := s.Put(t.Context(), d, []byte("x"), Meta{}); err != nil {
			t.Errorf("Put %s: %v", d, err)
		}
	}
}

func TestTruncatedFileIsQuarantine(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		dir := t.TempDir()
		s := newStore(t, Config{Dir: dir})
		d := put(t, s, 1, 1000, Meta{})
		if err := os.Truncate(s.blobPath(d), 999); err != nil {
			t.Fatal(err)
		}
		if restart {
			_ = s.Close()
			s = newStore(t, Config{Dir: dir})
		}
		_, err := s.Open(d)
		wantErr(t, err, ErrNotFound)
		if has(s, d) {
			t.Error("it is still there")
		}
		file := filepath.Join(dir, "corrupt", "sha256-"+d.Encoded())
		if st, err := os.Stat(file); err != nil || st.Size() != 999 {
			t.Errorf("not quarantined: %v", err)
		}
		if got := s.Stats().Corrupt; got != 1 {
			t.Errorf("Stats.Corrupt = %d, want 1", got)
		}
		b, _ := content(1, 1000)
		if err := s.Put(t.Context(), d, b, Meta{}); err != nil || !bytes.Equal(read(t, s, d), b) {
			t.Errorf("it cannot be stored again: %v", err)
		}
	}
}

func TestFileRemovedBehindOurBack(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	d := put(t, s, 1, 1000, Meta{})
	if err := os.RemoveAll(filepath.Join(s.dir, blobsDir)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Open(d)
	wantErr(t, err, ErrNotFound)
	if got := s.Stats(); got.Objects != 0 || got.Bytes != 0 {
		t.Errorf("still counted: %+v", got)
	}
	put(t, s, 1, 1000, Meta{})
	if !has(s, d) {
		t.Error("it cannot be stored again")
	}
}

func TestRemoveWhileOpen(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	b, d := content(1, 4000)
	if err := s.Put(t.Context(), d, b, Meta{Pinned: true}); err != nil {
		t.Fatal(err)
	}
	o, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(d); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(o.File)
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("its reader lost it: %v", err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); has(s, d) || st.Bytes != 0 || st.PinnedBytes != 0 {
		t.Errorf("it is still there: %+v", st)
	}
}

func TestPeekIsNoUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{Dir: t.TempDir()})
		d := put(t, s, 1, 100, Meta{})
		before, _ := s.Stat(d)
		time.Sleep(time.Hour)
		o, err := s.Peek(d)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if after, _ := s.Stat(d); !after.Used.Equal(before.Used) || !o.Used.Equal(before.Used) {
			t.Errorf("used %v, then %v", before.Used, after.Used)
		}
		read(t, s, d)
		if after, _ := s.Stat(d); !after.Used.Equal(time.Now()) {
			t.Errorf("Open at %v is not counted: %v", time.Now(), after.Used)
		}
	})
}

func TestSecondCloseDoesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir(), MaxSize: 1000})
	<-s.scanned
	d := put(t, s, 1, 600, Meta{})
	first, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	b, other := content(2, 600)
	wantErr(t, s.Put(t.Context(), other, b, Meta{}), ErrFull) // the second reader still holds it
}

// A reader that finds old bytes wrong does not take away the right ones that have
// come since.
func TestQuarantineOfWhatWasReplaced(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	b, d := content(1, 100)
	put(t, s, 1, 100, Meta{})
	old, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := s.Remove(d); err != nil {
		t.Fatal(err)
	}
	put(t, s, 1, 100, Meta{})
	wantErr(t, s.quarantine(old.entry, errors.New("wrong")), ErrNotFound)
	if !bytes.Equal(read(t, s, d), b) || s.Stats().Objects != 1 {
		t.Error("the new copy has gone")
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	d := put(t, s, 1, 10, Meta{Repos: map[string]time.Time{"r/a": time.Unix(1, 0)}})
	before, _ := s.Stat(d)
	err := s.Update(d, func(m *Meta) {
		m.Pinned, m.Public, m.MediaType = true, true, "t"
		m.Added = time.Unix(5, 0)
		m.Repos["r/b"] = time.Unix(2, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(before.Repos) != 1 {
		t.Error("Update changed a map that was handed out")
	}
	_ = s.Close()
	s = newStore(t, Config{Dir: dir})
	after, _ := s.Stat(d)
	want := Meta{
		Pinned: true, Public: true, MediaType: "t", Added: before.Added,
		Repos: map[string]time.Time{"r/a": time.Unix(1, 0), "r/b": time.Unix(2, 0)},
	}
	if diff := cmp.Diff(want, after.Meta); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	<-s.scanned
	if got := s.Stats().PinnedBytes; got != 10 {
		t.Errorf("PinnedBytes = %d, want 10", got)
	}
}

func TestPutTwiceMergesWhatIsKnown(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	d := put(t, s, 1, 10, Meta{MediaType: "t", Pinned: true, Repos: map[string]time.Time{"a": late, "b": early}})
	put(t, s, 1, 10, Meta{Public: true, Repos: map[string]time.Time{"a": early, "b": late, "c": early}})
	got, _ := s.Stat(d)
	want := Meta{MediaType: "t", Pinned: true, Public: true, Added: got.Added, Repos: map[string]time.Time{"a": late, "b": late, "c": early}}
	if diff := cmp.Diff(want, got.Meta); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if st := s.Stats(); st.Objects != 1 || st.Bytes != 10 {
		t.Errorf("counted twice: %+v", st)
	}
}

func TestPutHealsWhatWasNotVerified(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	b, d := content(1, 1000)
	put(t, s, 1, 1000, Meta{})
	if err := os.WriteFile(s.blobPath(d), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	s = newStore(t, Config{Dir: dir})
	put(t, s, 1, 1000, Meta{})
	if !bytes.Equal(read(t, s, d), b) {
		t.Error("the wrong bytes stayed")
	}
}

func TestUnreadableMetaIsPrivateToNobody(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "null", `{"public":true`, "\x00\x00\x00"} {
		dir := t.TempDir()
		s := newStore(t, Config{Dir: dir})
		d := put(t, s, 1, 10, Meta{Public: true, Repos: map[string]time.Time{"r": time.Unix(1, 0)}})
		if err := os.WriteFile(s.blobPath(d)+metaSuffix, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		s = newStore(t, Config{Dir: dir})
		info, ok := s.Stat(d)
		if !ok || info.Public || len(info.Repos) != 0 || info.Added.IsZero() {
			t.Errorf("with Meta %q: %+v, %v", text, info, ok)
		}
	}
}

func TestCorruptKeepsTheLastEight(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	foreign := filepath.Join(s.dir, corruptDir, "notes.txt")
	for i := range uint64(12) {
		d := put(t, s, i, 100, Meta{})
		if err := s.Quarantine(d, errors.New("wrong")); err != nil {
			t.Fatal(err)
		}
		wantErr(t, s.Quarantine(d, errors.New("wrong")), ErrNotFound)
		if i == 0 {
			if err := os.WriteFile(foreign, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := os.ReadDir(filepath.Join(s.dir, corruptDir))
	if err != nil || len(files) != 8+1 {
		t.Errorf("%d files, %v; want 8 and the foreign one", len(files), err)
	}
	_, last := content(11, 100)
	if _, err := os.Stat(filepath.Join(s.dir, corruptDir, "sha256-"+last.Encoded())); err != nil {
		t.Errorf("the last one is not kept: %v", err)
	}
	if st := s.Stats(); st.Corrupt != 12 || st.Objects != 0 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
}

func TestUseOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{Dir: t.TempDir()})
		d := put(t, s, 1, 10, Meta{})
		mtime := func() time.Time {
			st, err := os.Stat(s.blobPath(d))
			if err != nil {
				t.Fatal(err)
			}
			return st.ModTime()
		}
		time.Sleep(10 * time.Minute)
		s.Touch(d)
		used := time.Now()
		time.Sleep(saveDelay + time.Second)
		synctest.Wait()
		if got := mtime(); !got.Equal(used) {
			t.Fatalf("mtime %v, want %v", got, used)
		}
		for range 100 {
			s.Touch(d)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if got := mtime(); !got.Equal(used) {
			t.Errorf("written again within %v", saveEvery)
		}
		last := time.Now()
		s.Touch(d)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := mtime(); !got.Equal(last) {
			t.Errorf("Close left mtime %v, want %v", got, last)
		}
	})
}

func TestAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	want := map[digest.Digest]int64{}
	for i := range 20 {
		want[put(t, s, uint64(i), i+1, Meta{})] = int64(i + 1)
	}
	for range 2 {
		got := map[digest.Digest]int64{}
		for info := range s.All(t.Context()) {
			got[info.Digest] = info.Size
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		_ = s.Close()
		s = newStore(t, Config{Dir: dir})
	}
}
