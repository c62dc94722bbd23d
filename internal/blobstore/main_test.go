package blobstore

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/leaktest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		crashChild(dir)
		return
	}
	leaktest.Main(m)
}

// newStore opens a store in dir and closes it with the test.
func newStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	return newStoreOn(t, cfg, disk{space: roomy})
}

// newStoreOn opens a store on a disk of the test's making.
func newStoreOn(t testing.TB, cfg Config, d disk) *Store {
	t.Helper()
	s, err := open(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// roomy is a disk that never fills.
func roomy(string) (free, total int64, ok bool) { return 1 << 50, 1 << 50, true }

// content returns n bytes that are the same for the same seed, and their digest.
func content(seed uint64, n int) ([]byte, digest.Digest) {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b, digest.FromBytes(b)
}

// put stores n bytes and returns their digest.
func put(t testing.TB, s *Store, seed uint64, n int, meta Meta) digest.Digest {
	t.Helper()
	b, d := content(seed, n)
	if err := s.Put(t.Context(), d, b, meta); err != nil {
		t.Fatalf("Put %s: %v", d, err)
	}
	return d
}

// read returns what the store has of d.
func read(t testing.TB, s *Store, d digest.Digest) []byte {
	t.Helper()
	o, err := s.Open(d)
	if err != nil {
		t.Fatalf("Open %s: %v", d, err)
	}
	defer o.Close()
	b := make([]byte, o.Size)
	if _, err := o.File.ReadAt(b, 0); err != nil {
		t.Fatalf("reading %s: %v", d, err)
	}
	return b
}

// has reports whether the store has d, without using it.
func has(s *Store, d digest.Digest) bool {
	_, ok := s.Stat(d)
	return ok
}

// wantErr fails the test unless err is want.
func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}
