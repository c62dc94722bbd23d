package blobstore

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a power cut leaves depends on the order of things: bytes before names,
// and both and the Meta before the caller is told (docs/faults.md F35).
// And no caller waits for the sync of another: no lock of the store is held in one.
func TestSyncBeforeNameAndOutsideOfLocks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var ops []string
	var s *Store
	watch := func(op, path string) error {
		if s == nil || op == "create" || op == "mkdir" || op == "remove" {
			return nil
		}
		name := filepath.Base(path)
		switch {
		case strings.HasPrefix(name, tempPrefix):
			name = "temp"
		case len(name) == 64:
			name = "blob"
		case len(name) == 2:
			name = "folder"
		default:
			name = strings.TrimLeft(filepath.Ext(name), ".")
		}
		mu.Lock()
		ops = append(ops, op+" "+name)
		mu.Unlock()
		if op != "sync" {
			return nil
		}
		for i := range s.names {
			if !s.names[i].TryLock() {
				t.Errorf("names are locked in %s %s", op, name)
				continue
			}
			s.names[i].Unlock()
		}
		if s.mu.TryLock() {
			s.mu.Unlock()
		} else {
			t.Errorf("the index is locked in %s %s", op, name)
		}
		return nil
	}
	s = newStoreOn(t, Config{Dir: t.TempDir()}, disk{space: roomy, fault: watch})
	<-s.scanned
	took := func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { ops = nil }()
		return ops
	}
	d := put(t, s, 1, 100, Meta{})
	want := []string{"write temp", "sync temp", "write temp", "rename json", "rename blob", "sync json", "sync folder"}
	if diff := cmp.Diff(want, took()); diff != "" {
		t.Errorf("Put (-want +got):\n%s", diff)
	}
	if err := s.Update(d, func(m *Meta) { m.Public = true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"write temp", "rename json"}, took()); diff != "" {
		t.Errorf("Update (-want +got):\n%s", diff)
	}
	if err := s.Update(d, func(m *Meta) { m.Pinned = true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"write temp", "rename json", "sync json", "sync folder"}, took()); diff != "" {
		t.Errorf("Update of the pin (-want +got):\n%s", diff)
	}
	b, d2 := content(2, 100)
	sp := newSpool(t, s, d2)
	fill(t, sp, b, 0, 100, "")
	took()
	if err := sp.Commit(100, Meta{}); err != nil {
		t.Fatal(err)
	}
	want = []string{"sync part", "write temp", "rename json", "rename blob", "sync json", "sync folder"}
	if diff := cmp.Diff(want, took()); diff != "" {
		t.Errorf("Commit (-want +got):\n%s", diff)
	}
}

// What a process that is killed now would leave: a journal of what was recorded,
// and after a Reset of nothing.
func TestJournalSpeaksOfWhatIsWritten(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	b, d := content(1, 100)
	sp := newSpool(t, s, d)
	fill(t, sp, b, 0, 60, "")
	place, err := s.place(d)
	if err != nil {
		t.Fatal(err)
	}
	size, extents := s.disk.readJournal(place.log) // as the next process finds it
	if diff := cmp.Diff([]Extent{{0, 60, ""}}, extents); diff != "" || size != -1 {
		t.Errorf("size %d (-want +got):\n%s", size, diff)
	}
	if err := sp.Reset(); err != nil {
		t.Fatal(err)
	}
	if _, extents := s.disk.readJournal(place.log); len(extents) != 0 {
		t.Errorf("after Reset the journal speaks of %v", extents)
	}
	if err := sp.Discard(); err != nil {
		t.Error(err)
	}
}
