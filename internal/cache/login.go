package cache

import "github.com/pullchain/pullchain/internal/fill"

// judges returns which upstreams can say that what a login has fetched is not there,
// or not for us: to a mirror without a login nothing of it has ever been there. Of
// what took no login every upstream can.
func judges(r *fill.Registry, login string) func(upstream string) bool {
	if login == fill.Anonymous || r.Knows == nil {
		return func(string) bool { return true }
	}
	return r.Knows
}
