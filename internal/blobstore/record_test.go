package blobstore

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// walk calls visit with each file under dir.
func walk(dir string, visit func(path string)) error {
	return filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
		if err == nil && !f.IsDir() {
			visit(path)
		}
		return err
	})
}

func TestRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	want := map[string][]byte{
		"docker.io/library/alpine:3.20": []byte(`{"digest":"x"}`), "../../etc/passwd": []byte("y\nz"), "": {}, "ü \n\x00": bytes.Repeat([]byte("a"), MaxRecord),
	}
	for name, content := range want {
		if err := s.PutRecord(t.Context(), "tag", name, []byte("older")); err != nil {
			t.Fatal(err)
		}
		if err := s.PutRecord(t.Context(), "tag", name, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutRecord(t.Context(), "other", "a", []byte("b")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := map[string][]byte{}
		for name, content := range s.Records("tag") {
			got[name] = content
			one, err := s.Record("tag", name)
			if err != nil || !bytes.Equal(one, content) {
				t.Errorf("%q: %q, %v", name, one, err)
			}
		}
		if !maps.EqualFunc(want, got, bytes.Equal) {
			t.Errorf("%d records came back, or others: want %d", len(got), len(want))
		}
		_ = s.Close()
		s = newStore(t, Config{Dir: dir})
	}
	if err := s.DeleteRecord("tag", ""); err != nil {
		t.Error(err)
	}
	if err := s.DeleteRecord("tag", ""); err != nil {
		t.Errorf("the second time: %v", err)
	}
	_, err := s.Record("tag", "")
	wantErr(t, err, ErrNotFound)
	_, err = s.Record("tag", "a")
	wantErr(t, err, ErrNotFound)
	if st := s.Stats(); st.Bytes != 0 {
		t.Errorf("records are counted: %+v", st)
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	if err := s.PutRecord(t.Context(), "tag", "x", make([]byte, MaxRecord+1)); err == nil {
		t.Error("65 KiB are taken")
	}
	for _, kind := range []string{"", "..", "a/b", "A", "a\x00"} {
		if err := s.PutRecord(t.Context(), kind, "x", nil); err == nil {
			t.Errorf("kind %q is taken", kind)
		}
		for range s.Records(kind) {
			t.Errorf("kind %q has records", kind)
		}
	}
}

func TestTornRecordIsNotFound(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	if err := s.PutRecord(t.Context(), "tag", "x", []byte("a long enough content")); err != nil {
		t.Fatal(err)
	}
	path, _ := s.recordPath("tag", "x")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Record("tag", "x")
		wantErr(t, err, ErrNotFound)
		for range s.Records("tag") {
			t.Fatalf("listed with %d of %d bytes", n, len(whole))
		}
	}
}

func TestOldThingsGo(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	<-s.scanned
	for _, name := range []string{"old", "new"} {
		if err := s.PutRecord(t.Context(), "tag", name, nil); err != nil {
			t.Fatal(err)
		}
	}
	path, _ := s.recordPath("tag", "old")
	past := time.Now().Add(-recordAge - time.Minute)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	old, oldDigest := content(1, 100)
	fresh, freshDigest := content(2, 100)
	for d, b := range map[*Spool][]byte{newSpool(t, s, oldDigest): old, newSpool(t, s, freshDigest): fresh} {
		fill(t, d, b, 0, 50, "")
		if err := d.Suspend(); err != nil {
			t.Fatal(err)
		}
	}
	past = time.Now().Add(-partialAge - time.Minute)
	if err := os.Chtimes(filepath.Join(s.dir, partialDir, "sha256-"+oldDigest.Encoded()+partSuffix), past, past); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	s = newStore(t, Config{Dir: s.dir}) // a start sweeps
	<-s.scanned
	if _, err := s.Record("tag", "old"); err == nil {
		t.Error("the old record is there")
	}
	if _, err := s.Record("tag", "new"); err != nil {
		t.Errorf("the new record is gone: %v", err)
	}
	sweeper{s}.sweepOld(time.Now().Add(sweepEvery))
	if st := s.Stats(); st.Partial != 1 || st.PartialBytes != 50 {
		t.Errorf("%+v", st)
	}
	sp := newSpool(t, s, freshDigest)
	if covered(sp.Extents()) != 50 {
		t.Error("the fresh partial blob is gone")
	}
	if err := sp.Discard(); err != nil {
		t.Error(err)
	}
}
