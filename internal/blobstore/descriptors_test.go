//go:build unix

package blobstore

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// withoutDescriptors makes the test binary a process that may open no file.
const withoutDescriptors = "PULLCHAIN_TEST_NO_DESCRIPTORS"

// TestF57_PeekWithoutDescriptors: that an object cannot be opened for want of descriptors
// says nothing of its bytes. It stays where it is, and is read once there are some again.
func TestF57_PeekWithoutDescriptors(t *testing.T) {
	if os.Getenv(withoutDescriptors) == "" { // the limit is that of the whole process
		t.Parallel()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), withoutDescriptors+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := newStore(t, Config{Dir: t.TempDir()})
	<-s.scanned
	b, d := content(1, 1000)
	put(t, s, 1, 1000, Meta{})
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, peeked := s.Peek(d)
	_, opened := s.Open(d)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"Peek": peeked, "Open": opened} {
		if !errors.Is(err, syscall.EMFILE) || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if st := s.Stats(); st.Objects != 1 || st.Corrupt != 0 || st.Trouble != "" {
		t.Errorf("%+v", st)
	}
	if !bytes.Equal(read(t, s, d), b) {
		t.Error("other bytes")
	}
}
