package cache

import "github.com/pullchain/pullchain"

// This file decides whom to believe when lanes name different sizes of a blob and
// no manifest is known that could tell (FAULTS.md F19). It is the first lane's word
// that the fill goes by, and that clients have been told. It falls when that lane
// could not send as much, and another names a size that may be: then what is there
// is kept, who was told the first size is cut off, and the digest has the last word.

// outvoted takes the size that a lane names, if the first one's word has fallen.
func (f *fill) outvoted(size int64, by string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.outvotedLocked(size, by)
}

func (f *fill) outvotedLocked(size int64, by string) bool {
	if !f.broke || f.fresh || by == f.from || len(f.workers) > 1 || size < f.have.end() {
		return false
	}
	f.size, f.from, f.broke = size, by, false
	f.wakeLocked()
	return true
}

// contradictedLocked takes note of what the failure of w, the only worker, says of
// the size. It returns true when that has changed. Else the lane that failed is
// asked last the next time: be it that it broke its word, or that it contradicts
// one who has not.
func (f *fill) contradictedLocked(w *worker, e *pullchain.Error) bool {
	if f.fresh {
		return false
	}
	by := e.Upstream
	if ofRange(e) { // the blob ends before that
		if by == "" {
			by = refusedBy(e.Attempts)
		}
		if e.Size > 0 && e.Size != f.size && f.outvotedLocked(e.Size, by) {
			return true
		}
	}
	f.broke = f.broke || by == f.from || w.source == f.from
	if by != "" {
		w.others = []string{by}
	}
	return false
}

// refusedBy returns who found the range wrong that was asked for.
func refusedBy(attempts []pullchain.Attempt) string {
	for _, a := range attempts {
		if a.Err != nil && ofRange(a.Err) {
			return a.Upstream
		}
	}
	return ""
}
