package blobstore

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOneStoreADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	_, err := Open(Config{Dir: dir})
	wantErr(t, err, ErrLocked)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	newStore(t, Config{Dir: dir})
}

func TestLaterFormatIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_ = newStore(t, Config{Dir: dir}).Close()
	if err := os.WriteFile(filepath.Join(dir, versionName), []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the lock is let go of
		_, err := Open(Config{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), "later pullchain") {
			t.Fatalf("opened: %v", err)
		}
	}
}

func TestDirThatIsNone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		var log bytes.Buffer
		s, err := Open(Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err == nil {
			_ = s.Close()
			t.Errorf("opened %q", dir)
			continue
		}
		if strings.Contains(err.Error(), "\n") || log.Len() > 0 {
			t.Errorf("%q: error %v, log %s; want one line, and no log beside", dir, err, &log)
		}
	}
}

func TestDefaultLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		asked Size
		total int64
		want  int64
	}{{0, 1 << 40, 10 << 30}, {0, 20 << 30, 2 << 30}, {0, 0, 10 << 30}, {5, 20 << 30, 5}, {1 << 50, 20 << 30, 1 << 50}} {
		bad := &badDisk{free: c.total, total: c.total}
		s := newStoreOn(t, Config{Dir: t.TempDir(), MaxSize: c.asked}, bad.disk())
		if got := s.Stats(); got.Limit != c.want || got.Free != c.total {
			t.Errorf("%+v: limit %d, free %d", c, got.Limit, got.Free)
		}
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: filepath.Join(t.TempDir(), "new")})
	b, d := content(1, 10)
	put(t, s, 2, 10, Meta{})
	if err := s.PutRecord(t.Context(), "tag", "x", b); err != nil {
		t.Fatal(err)
	}
	sp := newSpool(t, s, d)
	defer sp.Discard()
	n := 0
	err := filepath.WalkDir(s.dir, func(path string, f os.DirEntry, err error) error {
		info, e := f.Info()
		if err != nil || e != nil {
			t.Fatal(err, e)
		}
		n++
		want := os.FileMode(0o600)
		if f.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || n < 12 {
		t.Errorf("%d files seen, %v", n, err)
	}
}

func TestStartSweepsAndLeavesForeignFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	d := put(t, s, 1, 10, Meta{})
	_ = s.Close()
	shard := filepath.Dir(s.blobPath(d))
	_, orphan := content(2, 10)
	ours := []string{
		filepath.Join(dir, ".tmp-other-1"), filepath.Join(shard, ".tmp-other-2"), filepath.Join(dir, partialDir, ".tmp-other-3"),
		filepath.Join(dir, partialDir, "sha256-"+orphan.Encoded()+".part"), filepath.Join(dir, partialDir, "sha256-"+d.Encoded()+".log"),
		filepath.Join(shard, filepath.Base(shard)+strings.Repeat("0", 62)+".json"),
		filepath.Join(dir, recordsDir, "tag", ".tmp-other-4"),
	}
	foreign := []string{
		filepath.Join(dir, "README"), filepath.Join(dir, blobsDir, "lost+found"), filepath.Join(shard, "notes.json"), filepath.Join(shard, d.Encoded()+".bak"),
		filepath.Join(dir, partialDir, "x.part"), filepath.Join(dir, partialDir, "sha256-short.log"), filepath.Join(dir, recordsDir, "tag", "notes"),
	}
	for _, path := range append(ours, foreign...) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = newStore(t, Config{Dir: dir})
	<-s.scanned
	for _, path := range ours {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if _, err := s.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range foreign {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("a foreign file is gone: %v", err)
		}
	}
	if st := s.Stats(); st.Objects != 1 || st.Bytes != 10 || !st.Scanned {
		t.Errorf("%+v", st)
	}
}

func TestEverythingIsFoundBeforeTheScanIsOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	d, gone, pinned := put(t, s, 1, 10, Meta{Public: true}), put(t, s, 2, 20, Meta{}), put(t, s, 3, 30, Meta{})
	_ = s.Close()
	// A store whose scan has not begun yet.
	s = unscanned(t, dir)
	if info, ok := s.Stat(d); !ok || info.Size != 10 || !info.Public {
		t.Errorf("Stat = %+v, %v", info, ok)
	}
	if len(read(t, s, d)) != 10 {
		t.Error("not to be opened")
	}
	if err := s.Remove(gone); err != nil || has(s, gone) {
		t.Errorf("not to be removed: %v", err)
	}
	if err := s.Update(pinned, func(m *Meta) { m.Pinned = true }); err != nil {
		t.Error(err)
	}
	put(t, s, 4, 40, Meta{})
	if s.Stats().Scanned {
		t.Fatal("the scan is over")
	}
	scanner{s}.scan(t.Context())
	if st := s.Stats(); st.Objects != 3 || st.Bytes != 80 || st.PinnedBytes != 30 || !st.Scanned {
		t.Errorf("%+v", st)
	}
}

// unscanned opens a store that has not read its directory.
func unscanned(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := prepared(Config{Dir: dir}, disk{space: roomy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStats(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir(), MaxSize: 1000})
	<-s.scanned
	if st := s.Stats(); st.Oldest != nil || st.Dir != s.dir {
		t.Errorf("empty: %+v", st)
	}
	first := put(t, s, 1, 10, Meta{})
	put(t, s, 2, 20, Meta{Pinned: true})
	info, _ := s.Stat(first)
	if st := s.Stats(); st.Oldest == nil || !st.Oldest.Equal(info.Used) || st.Objects != 2 || st.Bytes != 30 || st.PinnedBytes != 20 || st.Limit != 1000 {
		t.Errorf("%+v", st)
	}
	time.Sleep(time.Millisecond)
	s.Touch(first)
	if st := s.Stats(); !st.Oldest.After(info.Used) {
		t.Errorf("the oldest use is %v, not that of the other", st.Oldest)
	}
}

func TestAfterClose(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	b, d := content(1, 10)
	put(t, s, 1, 10, Meta{})
	o, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	_, d2 := content(2, 10)
	sp := newSpool(t, s, d2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, s.Put(t.Context(), d, append(b, 1), Meta{}), os.ErrClosed)
	if _, err := o.File.ReadAt(b, 0); err != nil {
		t.Error(err)
	}
	fill(t, sp, b, 0, 10, "")
	if err := sp.Suspend(); err != nil {
		t.Error(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}
