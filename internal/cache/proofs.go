package cache

import (
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"
	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// A proofKey is content as one repository has it.
type proofKey struct {
	by     fill.Repository
	digest digest.Digest
}

// A proof is the last word on whether content may be read through a repository.
// It is kept beside Meta.Repos, which says the same: for content that is not
// stored yet, and for a store that cannot be written.
type proof struct {
	at      time.Time // of the last word; zero if there was none
	allowed bool      // what it was
	login   string    // by which login, if allowed
	public  bool      // it needed no login
	failed  time.Time // when no upstream could say, after at; else zero
	err     error     // why not
}

// accessProofs are the last words on what may be read through which repository. They
// are safe for concurrent use.
type accessProofs struct {
	manifests *manifests
	store     *blobstore.Store
	proofs    *otter.Cache[proofKey, proof] // what the store's Meta does not say yet, or cannot
}

// proofsKept bounds what is kept in memory.
const proofsKept = 64 << 10

func newAccessProofs(store *blobstore.Store, ms *manifests) *accessProofs {
	return &accessProofs{
		manifests: ms, store: store,
		proofs: otter.Must(&otter.Options[proofKey, proof]{MaximumSize: proofsKept}),
	}
}

// had reports whether the content of key is public, or its repository has had
// it before: that a tag means a digest is said in a header, and the upstream that
// says so need not have the bytes.
func (a *accessProofs) had(r *fill.Registry, key proofKey) bool {
	meta := a.manifests.meta(key.digest)
	return meta.Public || a.last(r, key, meta).allowed
}

// readable reports whether the repository may read the content of key, which it has
// had before, on the word of said, or because it proved so in a time that is recent.
func (a *accessProofs) readable(r *fill.Registry, key proofKey, said yes, recent func(at time.Time) bool) bool {
	meta := a.manifests.meta(key.digest)
	if meta.Public {
		return true
	}
	p := a.last(r, key, meta)
	return p.allowed && (p.public || recent(p.at) || a.counts(r, key, said))
}

// counts reports whether a yes lets the repository read the content of key.
func (a *accessProofs) counts(r *fill.Registry, key proofKey, y yes) bool {
	return a.giversOf(r, key, blobstore.Meta{}).count(y)
}

// last returns the last word on key. That of a login that is gone is none.
func (a *accessProofs) last(r *fill.Registry, key proofKey, meta blobstore.Meta) proof {
	p, _ := a.proofs.GetIfPresent(key)
	login, holder := meta.Logins[key.by.String()], key.by.Holder
	if at := meta.Repos[key.by.String()]; at.After(p.at) && (holder == "" || login == holder) { // else it is the word on another client
		p = proof{at: at, allowed: true, login: login}
	}
	if p.allowed && !p.public && !r.StandsFor(holder, p.login) {
		return proof{}
	}
	return p
}

// revoked reports whether access through a repository has been refused since it
// was last granted, as far as is remembered.
func (a *accessProofs) revoked(key proofKey, since time.Time) bool {
	p, ok := a.proofs.GetIfPresent(key)
	if ok && !p.at.Before(since) {
		return !p.allowed
	}
	info, here := a.store.Stat(key.digest)
	if !here || info.Public {
		return false
	}
	_, stands := info.Repos[key.by.String()]
	return !stands
}

// grant notes that an upstream has let us have content just now, and what login
// that took. Only bytes that came without one make it public; a header speaks for
// its repository alone.
func (a *accessProofs) grant(key proofKey, login string, public bool) {
	now := time.Now()
	a.proofs.Set(key, proof{at: now, allowed: true, login: login, public: public})
	info, here := a.store.Stat(key.digest)
	if !here || info.Public {
		return
	}
	a.manifests.amend(key.digest, func(meta *blobstore.Meta) {
		if public {
			meta.Public = true
			return
		}
		meta.Prove(key.by.String(), now, login)
	})
}

// revokeBy takes a repository's access away if err is the "no" of an upstream that
// can tell.
func (a *accessProofs) revokeBy(r *fill.Registry, err error, key proofKey) {
	meta := a.manifests.meta(key.digest)
	p := a.last(r, key, meta)
	if p.allowed && !takenAway(err, judges(r, p.login)) || !p.allowed && !no(err) {
		return
	}
	a.proofs.Set(key, proof{at: time.Now()})
	// One client's "no" is no other's, and that none may have it without a login is no news.
	if _, had := meta.Repos[key.by.String()]; had && key.by.Holder == "" && !pullchain.IsHolder(meta.Logins[key.by.String()]) {
		a.manifests.amend(key.digest, func(meta *blobstore.Meta) { meta.Disprove(key.by.String()) })
	}
}

// revokeIn takes a repository's access away if an upstream that can tell is among the
// attempts behind another's answer, and has said no.
func (a *accessProofs) revokeIn(r *fill.Registry, attempts []pullchain.Attempt, key proofKey) {
	a.revokeBy(r, &pullchain.Error{Reason: pullchain.Unavailable, Attempts: attempts}, key)
}

// unanswered notes that no upstream could say whether p still stands, so that they
// are not asked again at once.
func (a *accessProofs) unanswered(key proofKey, p proof, err error) {
	p.failed, p.err = time.Now(), err
	a.proofs.Set(key, p)
}
