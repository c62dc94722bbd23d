package fill

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

// repairs are what is known of the copies that proved wrong. They belong to the
// goroutine of the fill, but for avoid, which its mutex guards.
type repairs struct {
	copies     int        // that were replaced
	wrong      int        // of those, how many came from upstreams
	avoid      []string   // upstreams that sent parts of wrong copies: they are asked last
	mismatches []mismatch // wrong copies that several upstreams have sent
}

// A mismatch is a copy that proved wrong and that several upstreams have sent:
// whose bytes are wrong shows when a right one is there to compare with.
type mismatch struct {
	file  *os.File
	runs  []run
	cause error
}

// replace throws the copy away that proved wrong, holds it against its sender if
// that is one upstream, and begins another copy (docs/faults.md F20). One stream brings
// that, from another upstream where there is one, so that a second wrong copy has one
// sender. Where several sent the wrong one, none is blamed on a guess: it is kept, and
// compared once a right one is there. It returns false if another copy is of no use.
func (f *fill) replace(cause error) bool {
	f.mu.Lock()
	f.enterLocked(replacing, nil)
	f.mu.Unlock()
	f.stopWorkers()
	f.mu.Lock()
	reg, old := f.reg, f.copy
	sources := old.sources()
	old.journal = nil
	f.mu.Unlock()
	f.fills.log.Warn("blob was wrong", "digest", f.digest, "sources", sources, "error", cause)
	if old.back.object != nil {
		return f.replaceObject(cause)
	}
	if len(sources) == 1 && sources[0] != "" {
		f.blame(reg, sources[0], cause)
	}
	if len(sources) > 1 {
		f.keepMismatch(old, cause)
	}
	if f.repairs.wrong++; f.repairs.wrong >= maxCopies {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.enterLocked(failed, cause)
		return false
	}
	err := old.back.spool.Reset()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, source := range sources {
		if source != "" && !slices.Contains(f.repairs.avoid, source) {
			f.repairs.avoid = append(f.repairs.avoid, source)
		}
	}
	return f.beginCopyLocked(&blobCopy{back: old.back, size: old.size, oneStream: true}, err)
}

// beginCopyLocked makes c, whose file is empty or that of the store, the copy at
// hand. err says why there is no file for it.
func (f *fill) beginCopyLocked(c *blobCopy, err error) bool {
	f.copy = c
	f.repairs.copies++
	f.retries.hadAtFail = 0
	f.changes.notify()
	if f.phase != replacing || f.ctx.Err() != nil {
		return false
	}
	f.phase = running
	if err != nil {
		f.enterLocked(detached, err)
		return false
	}
	if c.back.object == nil {
		if c.size == 0 { // an empty one has just proved wrong, and for no bytes nothing is asked
			c.size = -1
		}
		w := f.plan.newWorker()
		w.take(0, c.limit())
		f.plan.launch(w)
	}
	return true
}

// replaceObject quarantines what the store had, and fetches it (docs/faults.md F34).
func (f *fill) replaceObject(cause error) bool {
	if err := f.fills.store.Quarantine(f.digest, cause); err != nil {
		f.fills.log.Warn("wrong blob could not be quarantined", "digest", f.digest, "error", err)
	}
	_ = f.copy.back.object.Close() // it was only read
	back, err := f.fills.open(f.digest)
	if err == nil && back.spool != nil {
		if err = back.spool.Reset(); err != nil { // of what an earlier attempt may have left
			_ = back.spool.Discard()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by = RepositoryOf(f.reg, f.req)
	c := &blobCopy{size: f.copy.size}
	if err == nil {
		c.back = back
	}
	if c.back.object != nil { // another process has put it back
		c.have.add(0, c.size, "")
	} else if err == nil {
		f.fills.wg.Go(f.speedUp)
	}
	return f.beginCopyLocked(c, err)
}

// blame holds wrong bytes against the upstream that sent them, and tells of it in
// the attempt log.
func (f *fill) blame(reg *Registry, upstream string, cause error) {
	e := *AsError(cause)
	e.Upstream = upstream
	f.log.add(pullchain.Attempt{Upstream: upstream, Start: time.Now(), Err: &e})
	reg.blame(upstream, f.req, &e)
}

// keepMismatch keeps a wrong copy to compare it with a right one.
func (f *fill) keepMismatch(c *blobCopy, cause error) {
	file, err := c.back.spool.Reader()
	if err != nil {
		f.fills.log.Warn("wrong copy could not be kept for comparison", "digest", f.digest, "error", err)
		return
	}
	f.repairs.mismatches = append(f.repairs.mismatches, mismatch{file, c.have.runs, cause})
}

// attribute compares the wrong copies with the right one and holds them against
// the upstreams whose bytes differ.
func (f *fill) attribute() {
	f.mu.Lock()
	reg, proved := f.reg, f.copy
	f.mu.Unlock()
	for _, m := range f.repairs.mismatches {
		for _, source := range m.wrongSources(proved.back, proved.size) {
			f.blame(reg, source, m.cause)
		}
	}
}

// wrongSources returns the upstreams whose bytes of m differ from those of the
// right copy, which has size bytes. What was found on the disk is no upstream's.
func (m mismatch) wrongSources(right io.ReaderAt, size int64) []string {
	var sources []string
	for _, run := range m.runs {
		if run.source == "" || slices.Contains(sources, run.source) {
			continue
		}
		if at, err := differ(m.file, right, run.from, min(run.to, size)); err == nil && (at >= 0 || run.to > size) {
			sources = append(sources, run.source)
		}
	}
	return sources
}

// drop closes the files of the wrong copies.
func (r *repairs) drop() {
	for _, m := range r.mismatches {
		_ = m.file.Close() // it was only read
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
