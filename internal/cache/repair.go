package cache

import (
	"bytes"
	"io"
	"os"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// maxCopies is how many copies of a blob may prove wrong before the fill fails.
const maxCopies = 3

// A suspect is a copy that proved wrong and that several lanes have sent: who
// lied shows when a right one is there to compare with.
type suspect struct {
	file  *os.File
	runs  []run
	cause error
}

// another throws the copy away that proved wrong, holds it against who sent it if
// that is one lane, and begins to fetch another one (FAULTS.md F20). It returns
// false if that is no use.
func (f *fill) another(cause error) bool {
	f.stopWorkers()
	f.mu.Lock()
	reg, runs, sources := f.reg, f.have.runs, f.sourcesLocked()
	f.swap, f.journal = true, nil
	f.mu.Unlock()
	f.s.log.Warn("blob was wrong", "digest", f.digest, "sources", sources, "error", cause)
	if f.back.object != nil {
		return f.replaceObject(cause)
	}
	if len(sources) == 1 && sources[0] != "" {
		f.blame(reg, sources[0], cause)
	}
	if len(sources) > 1 {
		f.suspect(runs, cause)
	}
	if f.wrong++; f.wrong >= maxCopies {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.swap = false
		f.endLocked(failed, cause)
		return false
	}
	err := f.back.spool.Reset()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, source := range sources {
		if source != "" && !slices.Contains(f.avoid, source) {
			f.avoid = append(f.avoid, source)
		}
	}
	f.single, f.have = true, ranges{}
	return f.againLocked(err)
}

// againLocked begins a copy in an empty file.
func (f *fill) againLocked(err error) bool {
	f.swap, f.noRange, f.fresh, f.resumed = false, false, true, false
	f.copy++
	f.hadAtFail = 0
	f.ask = pullchain.Range{}
	f.wakeLocked()
	if f.halted = f.state != running || f.ctx.Err() != nil; f.halted {
		return false
	}
	if err != nil {
		f.endLocked(detached, err)
		return false
	}
	if f.back.object == nil {
		w := f.newWorkerLocked()
		w.claim(0, f.limitLocked())
		f.launchLocked(w)
	}
	return true
}

// replaceObject sets aside what the store had, and fetches it (FAULTS.md F34).
func (f *fill) replaceObject(cause error) bool {
	if err := f.s.store.SetAside(f.digest, cause); err != nil {
		f.s.log.Warn("wrong blob could not be set aside", "digest", f.digest, "error", err)
	}
	f.letGoOfObject()
	back, err := f.s.open(f.digest)
	if err == nil && back.spool != nil {
		if err = back.spool.Reset(); err != nil { // of what an earlier attempt may have left
			_ = back.spool.Discard()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have, f.answered = ranges{}, false
	f.by = repoKey{f.reg.name, f.req.Repo}
	if f.back = back; err != nil {
		f.back = backing{}
	}
	if f.back.object != nil { // somebody else has put it back
		f.have.add(0, f.size, "")
	} else if err == nil {
		f.s.wg.Go(f.speedUp)
	}
	return f.againLocked(err)
}

// sourcesLocked returns who sent the copy.
func (f *fill) sourcesLocked() []string {
	if sources := f.have.sources(); len(sources) > 0 {
		return sources
	}
	return []string{f.from}
}

// blame holds wrong bytes against the upstream that sent them, and tells of it in
// the trace.
func (f *fill) blame(reg *registry, upstream string, cause error) {
	e := *asError(cause)
	e.Upstream = upstream
	f.addLeg(&leg{attempts: []pullchain.Attempt{{Upstream: upstream, Start: time.Now(), Err: &e}}})
	reg.blame(upstream, &e)
}

// suspect keeps a wrong copy to compare it with a right one.
func (f *fill) suspect(runs []run, cause error) {
	file, err := f.back.spool.Reader()
	if err != nil {
		f.s.log.Warn("wrong copy could not be kept for comparison", "digest", f.digest, "error", err)
		return
	}
	f.suspects = append(f.suspects, suspect{file, runs, cause})
}

// accuse compares the wrong copies with the right one and holds them against
// those whose bytes differ.
func (f *fill) accuse() {
	f.mu.Lock()
	reg := f.reg
	f.mu.Unlock()
	for _, s := range f.suspects {
		liars := map[string]bool{"": true} // nobody's bytes
		for _, run := range s.runs {
			if liars[run.source] {
				continue
			}
			if at, err := differ(s.file, f.back, run.from, min(run.to, f.size)); err == nil && (at >= 0 || run.to > f.size) {
				liars[run.source] = true
				f.blame(reg, run.source, s.cause)
			}
		}
	}
}

func (f *fill) dropSuspects() {
	for _, s := range f.suspects {
		_ = s.file.Close() // it was only read
	}
}

// differ returns where two files differ first in [from, to), or -1.
func differ(a, b io.ReaderAt, from, to int64) (int64, error) {
	bufA, bufB := buffers.Get().(*[bufferSize]byte), buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(bufA)
	defer buffers.Put(bufB)
	for from < to {
		n := min(to-from, bufferSize)
		if err := readFull(a, bufA[:n], from); err != nil {
			return from, err
		}
		if err := readFull(b, bufB[:n], from); err != nil {
			return from, err
		}
		if !bytes.Equal(bufA[:n], bufB[:n]) {
			return from, nil
		}
		from += n
	}
	return -1, nil
}

// readFull fills p with the bytes at off.
func readFull(from io.ReaderAt, p []byte, off int64) error {
	n, err := from.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
