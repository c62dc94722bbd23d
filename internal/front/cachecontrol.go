package front

import (
	"strconv"
	"time"

	"github.com/pullchain/pullchain"
)

// What a cache in front of us may do with an answer, a CDN or nginx (RFC 9111 5.2.2).
const (
	// keepForEver is for what a digest names, as long as a shared cache can be told.
	keepForEver = "public, max-age=31536000, immutable"

	// keepNever is for what is one client's: it took a login, of the client or of the
	// configuration.
	keepNever = "private, no-store"

	// keepApart is where it counts which client asks: a cache that many share would answer
	// those that are refused here.
	keepApart = "private"

	// askAgain is for lists and for tags that we ask for each time: an upstream's word of now.
	askAgain = "no-cache"

	// tagAge is the longest that a cache in front may keep what a tag means.
	tagAge = time.Minute
)

// setCaching tells caches in front of us what they may keep. Errors tell them no-store
// (wire.WriteError). What is of a digest is the same for all that may have it; of manifests
// the label may be another for a client that takes one type alone, or an upstream may have
// another form for it. Blobs have one form.
func (a answer) setCaching() {
	a.rec.setHeader("Cache-Control", a.caching())
	if a.req.Op == pullchain.Manifest {
		a.rec.setHeader("Vary", "Accept")
	}
}

func (a answer) caching() string {
	switch {
	case a.resp.Private || header(a.r.Header, "Authorization") != "":
		return keepNever
	case a.h.access.Load().ByAddress():
		return keepApart
	case a.resp.Cache == pullchain.CacheStale: // right once, and of use while we are asked for better
		return "no-store"
	case a.req.Immutable():
		return keepForEver
	case a.req.Op == pullchain.Manifest && a.registry.TagTTL > 0:
		return maxAge(min(a.registry.TagTTL, tagAge))
	}
	return askAgain
}

// maxAge lets a cache keep an answer for d since an upstream said so: Age tells how much of
// it is over.
func maxAge(d time.Duration) string { return "public, max-age=" + strconv.FormatInt(seconds(d), 10) }
