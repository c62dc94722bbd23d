package balancer

import (
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// Blame holds err, as a rule that a digest does not match, against the lane
// over upstream, as if that lane's own body had been found wrong here. It is for
// those who check the bytes themselves (FetchOptions.Unverified). A name that no lane
// has is ignored: a reload may have removed it. It is safe for concurrent use.
func (b *Balancer) Blame(upstream string, err error) {
	l := b.lane(upstream)
	if l == nil || err == nil {
		return
	}
	e := asError(l.ownWords(err))
	class := pullchain.ClassBlob
	l.ledger.fault(class, e)
	l.note(&call{lane: l, req: pullchain.Request{Op: pullchain.Blob}, began: time.Now()}, e)
}

// lane returns the lane of that name, or nil.
func (b *Balancer) lane(name string) *Lane {
	i := slices.IndexFunc(b.lanes, func(l *Lane) bool { return l.Name() == name })
	if i < 0 {
		return nil
	}
	return b.lanes[i]
}
