package fill

import (
	"errors"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/blobstore"
)

// partial leaves in the store what an earlier process has fetched: the given runs of
// the content.
func (r *fillRig) partial(runs ...blobstore.Extent) {
	r.t.Helper()
	sp, err := r.store.Spool(r.t.Context(), r.chain.digest)
	if err != nil {
		r.t.Fatal(err)
	}
	err = sp.SetSize(int64(len(r.chain.content)))
	for _, run := range runs {
		_, werr := sp.WriteAt(r.chain.content[run.From:run.To], run.From)
		err = errors.Join(err, werr, sp.Record(run))
	}
	if err = errors.Join(err, sp.Suspend()); err != nil {
		r.t.Fatal(err)
	}
}

// TestF35ResumeOfHolesIsNoSlower: what is left of a blob after a kill are holes, where
// its connections were. They are fetched side by side, as the blob itself would be.
func TestF35ResumeOfHolesIsNoSlower(t *testing.T) {
	t.Parallel()
	const size, holes = 20 * mib, 14
	pull := func(runs []blobstore.Extent) (took time.Duration, sent int64) {
		fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
			if len(runs) > 0 {
				r.partial(runs...)
			}
			lane := &limitedLane{max: 12, rate: 256 * kib, rtt: 30 * time.Millisecond, chain: r.chain}
			r.chain.answer = lane.answer
			began := time.Now()
			r.mustGet(whole)
			took = time.Since(began)
			r.settled(true)
			sent = r.chain.sent.Load()
		})
		return took, sent
	}
	cold, _ := pull(nil)
	var left []blobstore.Extent
	missing := int64(0)
	for i := range int64(holes) { // half of each piece is there
		piece := int64(size / holes)
		left = append(left, extent(i*piece, i*piece+piece/2))
		missing += piece - piece/2
	}
	missing += size - holes*(size/holes)
	resumed, sent := pull(left)
	t.Logf("cold %v, resumed %v with %.3f of what was missing", cold, resumed, float64(sent)/float64(missing))
	if resumed > cold {
		t.Errorf("with half of the blob there it takes %v, and %v from nothing", resumed, cold)
	}
	if sent > missing+missing/20 {
		t.Errorf("%d bytes from upstreams, %d were missing", sent, missing)
	}
}

// TestSmallHolesAreJoined: what lies between two holes is fetched once more where that
// costs less than another request.
func TestSmallHolesAreJoined(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		var left []blobstore.Extent
		for at := int64(0); at < 2*mib; at += 40 * kib { // 20 KiB there, 20 KiB not
			left = append(left, extent(at, min(at+20*kib, 2*mib)))
		}
		r.partial(left...)
		r.mustGet(whole)
		r.settled(true)
		if n := len(r.chain.requests()); n > 2 {
			t.Errorf("%d requests for 52 holes that lie close together", n)
		}
		r.sentAtMost(2 * mib)
	})
}
