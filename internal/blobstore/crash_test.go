package blobstore

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// crashDirEnv makes the test binary a writer that is going to be killed.
const crashDirEnv = "BLOBSTORE_CRASH_DIR"

// crashChild writes to a store as fast as it can, and says on its output what is
// stored: "whole <digest>" after a Put or Commit, "part <digest> <bytes>" after a
// Record, "record <n>" after a PutRecord.
func crashChild(dir string) {
	s, err := open(Config{Dir: dir, MaxSize: 64 << 20}, disk{space: roomy})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("open")
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	start := uint64(time.Now().UnixNano())
	for worker := range uint64(4) {
		go func() {
			for i := uint64(0); ; i++ {
				crashStep(s, start+worker<<32+i, say)
			}
		}()
	}
	select {}
}

// crashStep stores one thing.
func crashStep(s *Store, seed uint64, say func(string, ...any)) {
	check := func(err error) {
		if err != nil {
			say("error %v", err)
		}
	}
	b, d := content(seed, 20_000+int(seed%50_000))
	switch seed % 3 {
	case 0:
		check(s.Put(context.Background(), d, b, Meta{Public: true}))
		say("whole %s", d)
	case 1:
		check(s.PutRecord(context.Background(), "tag", fmt.Sprint(seed%20), bytes.Repeat([]byte{byte(seed)}, 3000)))
		say("record %d", seed%20)
	case 2:
		sp, err := s.Spool(context.Background(), d)
		if err != nil {
			check(err)
			return
		}
		check(sp.SetSize(int64(len(b))))
		for from := 0; from < len(b); from += 10_000 {
			to := min(from+10_000, len(b))
			_, err := sp.WriteAt(b[from:to], int64(from))
			check(err)
			check(sp.Record(Extent{int64(from), int64(to), "x"}))
			say("part %s %d", d, to)
		}
		check(sp.Commit(int64(len(b)), Meta{Public: true}))
		say("whole %s", d)
	}
}

// A writer is killed at 20 random moments, each some time after it has stored some
// things, so that it gets to store them on however busy a machine. Nothing that is found afterwards is
// wrong, and nothing that was whole is lost (docs/faults.md F35).
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills 20 processes")
	}
	dir := t.TempDir()
	whole := map[digest.Digest]bool{}
	records := map[string]bool{}
	parts := 0
	for round := range 20 {
		part := killWriter(t, dir, rand.IntN(40), time.Duration(rand.IntN(20))*time.Millisecond, whole, records)
		s := newStore(t, Config{Dir: dir})
		<-s.scanned
		for d := range whole {
			if info, ok := s.Stat(d); !ok || !info.Public {
				t.Fatalf("round %d: %s was whole and is lost (%+v)", round, d, info)
			}
		}
		for d, bytes := range part {
			parts++
			if has(s, d) {
				continue // its Commit came through, and was not told
			}
			sp := newSpool(t, s, d)
			if got := covered(sp.Extents()); got < bytes {
				t.Fatalf("round %d: %d bytes of %s were recorded, %d are left", round, bytes, d, got)
			}
			if err := sp.Suspend(); err != nil {
				t.Fatal(err)
			}
		}
		for name := range records {
			if b, err := s.Record("tag", name); err != nil || len(b) != 3000 || bytes.Count(b, b[:1]) != 3000 {
				t.Fatalf("round %d: record %s: %d bytes, %v", round, name, len(b), err)
			}
		}
		checkFiles(t, s)
		checkNoTemps(t, dir)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(whole) < 20 || len(records) == 0 || parts == 0 {
		t.Errorf("%d whole, %d records, %d parts: the writers did too little", len(whole), len(records), parts)
	}
	t.Logf("%d whole, %d records, %d partial", len(whole), len(records), parts)
}

// killWriter runs a writer until it has said so many lines, and a while more, adds to whole and records what it stored,
// and returns how much of what it did not finish was recorded.
func killWriter(t *testing.T, dir string, said int, after time.Duration, whole map[digest.Digest]bool, records map[string]bool) map[digest.Digest]int64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		_ = cmd.Process.Kill()
		t.Fatalf("the writer says %q", lines.Text())
	}
	part := map[digest.Digest]int64{}
	for n := 0; lines.Scan(); n++ {
		if n == said {
			killer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			defer killer.Stop()
		}
		var what, name string
		var n int64
		_, _ = fmt.Sscan(lines.Text(), &what, &name, &n)
		switch what {
		case "whole":
			whole[digest.Digest(name)] = true
			delete(part, digest.Digest(name))
		case "part":
			part[digest.Digest(name)] = n
		case "record":
			records[name] = true
		default:
			t.Errorf("the writer says %q", lines.Text())
		}
	}
	_ = cmd.Wait()
	return part
}

// checkNoTemps looks for files that never got their name.
func checkNoTemps(t *testing.T, dir string) {
	t.Helper()
	_ = walk(dir, func(path string) {
		if strings.Contains(path, tempPrefix) {
			t.Errorf("%s is left", path)
		}
	})
}
