package fill

// A readerSet is the readers of a fill. It is guarded by the fill's mutex.
type readerSet map[*reader]struct{}

// wantAll reports whether a reader reads all of the blob.
func (s readerSet) wantAll() bool {
	for r := range s {
		if r.whole {
			return true
		}
	}
	return false
}

// first returns the first byte that a reader still wants, or size.
func (s readerSet) first(size int64) int64 {
	for r := range s {
		size = min(size, r.at)
	}
	return size
}

// want reports whether a reader still wants any of [from, to).
func (s readerSet) want(from, to int64) bool {
	for r := range s {
		if r.at < to && r.to > from {
			return true
		}
	}
	return false
}

// wait reports whether a reader waits for bytes.
func (s readerSet) wait() bool {
	for r := range s {
		if r.waiting {
			return true
		}
	}
	return false
}
