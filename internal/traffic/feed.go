package traffic

// Since returns some of the requests that are over, the oldest first, from the one after
// that number on, and the number of the last of them, to go on with; there are no more
// if it is no. missed is how many were forgotten before they could be read.
func (j *Journal) Since(no uint64) (some []Request, last, missed uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := &j.recent.all
	if oldest := all.total - min(all.total, uint64(all.n)); no < oldest {
		missed, no = oldest-no, oldest
	}
	for range chunk {
		e := all.at(no + 1)
		if e == nil {
			break
		}
		some = append(some, e.request())
		no++
	}
	return some, no, missed
}

// Last returns the number of the last request that is over, to read from by [Journal.Since]
// what comes after it.
func (j *Journal) Last() uint64 { return j.total() }
