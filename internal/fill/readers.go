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
