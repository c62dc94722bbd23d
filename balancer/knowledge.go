package balancer

import (
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// gateAbsent is not a gate of the lane, but of one thing on it: it has just
// said that it has not got it.
const gateAbsent = "absent"

// knowledge is what a chain has learnt of content. It is bounded, and safe for
// concurrent use. It is of the chain and not of the lanes, so that a reload which
// makes a lane anew loses none of the sizes.
type knowledge struct {
	sizes    *otter.Cache[sizeKey, int64]
	absences *otter.Cache[absentKey, absence]
}

// A sizeKey is a blob in its repository: what one repository's manifests claim
// must not be held against another's blobs.
type sizeKey struct {
	repo   string
	digest digest.Digest
}

// An absentKey is what a lane's "no" is remembered by. A HEAD and a GET are not the
// same question: caches that are cold, and links that are signed for one method, say no
// to the one and serve the other (docs/protocol.md 4.8). Nor are those of clients that
// take different types: of an image that is there in another type alone, registries say
// that it is not (distribution, registry/handlers/manifests.go). Of a client that takes
// none of the known types nothing is remembered: it may take any other.
type absentKey struct {
	lane *Lane
	subject
	accept wire.Accepts
	head   bool
}

type absence struct {
	until time.Time
	fresh time.Time // until then it is an answer by itself
	again time.Time // another "no" before then is the same
	times int
	err   *pullchain.Error
}

const (
	sizesKept  = 16384
	absentKept = 4096

	// A "no" is remembered for as long as a burst of the same question takes. A tag may
	// be pushed, and a pull-through registry say no while it fetches; public mirrors ban
	// clients that keep asking (docs/protocol.md 4.2).
	tagAbsentFor    = 2 * time.Second
	digestAbsentFor = 5 * time.Second
	oftenAbsentFor  = 30 * time.Second
	oftenAbsent     = 3
	absentAgain     = time.Minute

	// An older "no" only has a lane passed over while others serve: where it would be
	// the client's answer, the lane is asked again.
	absentAnswers = 2 * time.Second
)

func newKnowledge() *knowledge {
	return &knowledge{
		sizes:    otter.Must(&otter.Options[sizeKey, int64]{MaximumSize: sizesKept}),
		absences: otter.Must(&otter.Options[absentKey, absence]{MaximumSize: absentKept}),
	}
}

// learnSizes remembers how long a manifest says its parts are. A body without a
// length, or with a wrong one, is found out by it (docs/faults.md F18, F19).
func (k *knowledge) learnSizes(repo string, links []pullchain.Descriptor) {
	for _, link := range links {
		k.sizes.Set(sizeKey{repo, link.Digest}, link.Size)
	}
}

// size returns how long the blob of req is by a manifest of its repository: one that
// the caller knows of, as a cache does that has served it, or one that has passed
// through here.
func (k *knowledge) size(req pullchain.Request) (int64, bool) {
	if req.Size > 0 {
		return req.Size, true
	}
	return k.sizes.GetIfPresent(sizeKey{req.Repo, req.Digest})
}

// learnAbsent remembers that l has not got what req asks for, or does not let
// us have it, for as long as ttl says, see [Config].
func (k *knowledge) learnAbsent(l *Lane, req pullchain.Request, err error, ttl *time.Duration) {
	e, ok := errorsAs(err)
	if !ok || e.Reason != pullchain.NotFound && e.Reason != pullchain.Denied {
		return
	}
	key, now := keyOf(l, req), time.Now()
	if key.accept == 0 {
		return
	}
	a, _ := k.absences.GetIfPresent(key)
	if now.After(a.again) {
		a.times = 0
	}
	a.times++
	pause := tagAbsentFor
	switch {
	case ttl != nil && e.Reason == pullchain.NotFound: // a refusal may be put right at any moment
		pause = *ttl
	case a.times >= oftenAbsent:
		pause = oftenAbsentFor
	case req.Digest != "":
		pause = digestAbsentFor
	}
	a.until, a.again, a.err = now.Add(pause), now.Add(pause+absentAgain), e
	if a.fresh = now.Add(min(pause, absentAnswers)); ttl != nil && e.Reason == pullchain.NotFound {
		a.fresh = a.until // as it was set
	}
	k.absences.Set(key, a)
}

// forget forgets what l said it has not got.
func (k *knowledge) forget(l *Lane) {
	for key := range k.absences.Keys() {
		if key.lane == l {
			k.absences.Invalidate(key)
		}
	}
}

// absent returns what l said when it was asked for req lately, or nil, and whether that
// is fresh enough to be the answer.
func (k *knowledge) absent(l *Lane, req pullchain.Request, now time.Time) (err *pullchain.Error, fresh bool) {
	a, ok := k.absences.GetIfPresent(keyOf(l, req))
	if !ok || !now.Before(a.until) {
		return nil, false
	}
	return a.err, now.Before(a.fresh)
}

func keyOf(l *Lane, req pullchain.Request) absentKey {
	return absentKey{l, subjectOf(req), wire.AcceptsOf(req.Accept), req.Head}
}

// lacks reports whether l has said of late that it has not what req asks for.
func (k *knowledge) lacks(l *Lane, req pullchain.Request, now time.Time) bool {
	err, fresh := k.absent(l, req, now)
	return err != nil && (fresh || !err.Final)
}
