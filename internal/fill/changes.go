package fill

import "sync"

// changes let goroutines wait for the next change of what a mutex guards, or for a
// context, which a sync.Cond cannot. They are guarded by that mutex.
type changes struct {
	next chan struct{} // closed by the next change; nil when nothing waits
}

// notify wakes all that wait.
func (c *changes) notify() {
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// wait waits for a change, or until done. It lets go of mu meanwhile.
func (c *changes) wait(mu *sync.Mutex, done <-chan struct{}) {
	if c.next == nil {
		c.next = make(chan struct{})
	}
	next := c.next
	mu.Unlock()
	select {
	case <-next:
	case <-done:
	}
	mu.Lock()
}
