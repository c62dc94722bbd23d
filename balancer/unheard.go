package balancer

// unheard reports whether none of those who are being asked has so much as let us
// connect in the time that its lane is given for it. Who has something to fall
// back on does not wait for them any longer: where every upstream is a black hole
// that is the whole time of a dial, five seconds, for each tag that somebody wants
// (FAULTS.md F02, F38). The lanes are held for it, as any that are silent.
func (r *race) unheard() bool {
	for _, a := range r.running {
		if !a.watch.mute() {
			return false
		}
	}
	return true
}

// mute reports whether the far end has not answered at all, and is overdue.
func (w *connectWatch) mute() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fired && w.timer != nil && w.dials && !w.open && !w.reached
}
