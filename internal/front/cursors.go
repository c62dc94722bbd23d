package front

import (
	"net/url"
	"slices"
	"sync"

	"github.com/pullchain/pullchain/internal/wire"
)

// cursors are the parameters by which registries have named the next page of a list in
// their own words. Of a client's query nothing else goes on but what every list is known
// to have: what an upstream makes of a parameter that it does not know is not for a client
// to try out (docs/faults.md F55). Safe for concurrent use; the zero value has none.
//
// It lasts as long as the process. A client that is in the middle of a list over a restart
// gets its first page once more, whose link names the parameter again.
type cursors struct {
	mu    sync.RWMutex
	names map[string][]string // by registry
}

// Bounds of what an upstream can make us remember: no registry is known for more than one.
const (
	cursorsKept   = 8
	maxCursorName = 64
)

// learn remembers the parameters of a link to the next page.
func (c *cursors) learn(registry string, next *url.URL) {
	for _, name := range wire.OwnParams(next) {
		if len(name) > maxCursorName || c.knows(registry, name) {
			continue
		}
		c.mu.Lock()
		if c.names == nil {
			c.names = make(map[string][]string)
		}
		if kept := c.names[registry]; len(kept) < cursorsKept && !slices.Contains(kept, name) {
			c.names[registry] = append(slices.Clone(kept), name)
		}
		c.mu.Unlock()
	}
}

func (c *cursors) knows(registry, name string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Contains(c.names[registry], name)
}

// keep returns what of a list's query goes on to an upstream of registry.
func (c *cursors) keep(registry, query string) string {
	return wire.KeepParams(query, func(name string) bool { return c.knows(registry, name) })
}
