package daemon

import (
	"errors"
	"fmt"

	"github.com/pullchain/pullchain/internal/admin"
)

// A forgetter is a lane that can forget what was learnt of it.
type forgetter interface{ Reset() }

// ResetUpstream forgets what was learnt of an upstream: an operator that has put it
// right need not wait for a quarantine of hours to end (docs/faults.md 0.3).
func (d *Daemon) ResetUpstream(registry, upstream string) (state string, err error) {
	// A reload that takes the path out meanwhile makes another lane of it.
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.chain.Load().known(pathID{registry, upstream})
	if p == nil {
		return "", fmt.Errorf("%s/%s: %w", registry, upstream, admin.ErrNoUpstream)
	}
	lane, ok := any(p.lane).(forgetter)
	if !ok {
		return "", errors.New("the lanes of this version forget nothing")
	}
	lane.Reset()
	d.log.Info("upstream reset", "registry", registry, "upstream", upstream)
	for _, l := range d.chain.Load().registryNamed(registry).balancer.Snapshot().Lanes {
		if l.Upstream == upstream {
			state = l.State
		}
	}
	return state, nil
}
