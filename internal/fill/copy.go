package fill

import (
	"math"
	"slices"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// A blobCopy is one bringing together of the blob's bytes: where they lie, which of
// them are there, and what upstreams have said of the whole. A copy that proves
// wrong is not mended: another one begins. It is guarded by the fill's mutex, but
// for back, which does not change.
type blobCopy struct {
	back      backing
	size      int64 // of the blob; -1 if it is not known
	confirmed bool  // an upstream has confirmed size for this copy
	have      ranges
	journal   []blobstore.Extent // written, and not recorded yet
	sizedBy   string             // the upstream that named size
	shortOf   bool               // and that could not send as much since
	ask       pullchain.Range    // what to ask for while the size is not known
	oneStream bool               // one stream brings it all, so that one lane answers for it
	noRange   bool               // a lane has answered with the whole where a range was wanted
	crumbs    bool               // a lane answers to ranges with next to nothing: what is missing is asked for as one
	unproved  bool               // an upstream that has sent a part is not trusted: no byte is shown before all are right
	left      []string           // the logins that took what an earlier attempt left of it; "" for one that is not known
}

// described reports whether it is known what the copy takes: its size, and a login or
// not. Of stored content the store knows.
func (c *blobCopy) described() bool { return c.confirmed || c.back.object != nil }

// held reports whether nothing of the copy is shown to a reader before it is verified: of a
// small one to a reader of the whole, and of a larger one that the store had to any.
func (c *blobCopy) held(whole bool) bool {
	switch {
	case c.size < 0:
		return false
	case c.back.object != nil:
		return c.size <= holdStored
	}
	return whole && c.size <= holdAll
}

// limit is the blob's end as far as it is known.
func (c *blobCopy) limit() int64 {
	if c.size < 0 {
		return math.MaxInt64
	}
	return c.size
}

// missing is how many bytes are still to come; of an unknown size it is 0 or less.
func (c *blobCopy) missing() int64 { return c.size - c.have.total }

// divisible reports whether several streams may bring the copy at once.
func (c *blobCopy) divisible() bool {
	return c.confirmed && c.size >= 0 && !c.oneStream && !c.noRange
}

// takeObject makes the copy one of which everything is there.
func (c *blobCopy) takeObject() {
	c.size = c.back.object.Size
	c.have.add(0, c.size, "")
}

// sources returns the upstreams that have sent the copy: of an empty one it is the
// one that called it empty.
func (c *blobCopy) sources() []string {
	if sources := c.have.sources(); len(sources) > 0 {
		return sources
	}
	return []string{c.sizedBy}
}

// resume takes over what an earlier attempt left in the spool (docs/faults.md F35).
// Its sender is not to blame for what a disk may have done to it since. It
// returns false if that is of no use: the blob's size is not known. That a manifest
// says something else is no reason to throw it away: that manifest may be of another
// repository than the attempt was for, and wrong. The first answer tells.
func (c *blobCopy) resume() bool {
	extents := c.back.spool.Extents()
	if len(extents) == 0 {
		return true
	}
	size := c.back.spool.Size()
	if size < 0 {
		return false
	}
	c.size = size
	for _, e := range extents {
		c.left = append(c.left, loginOfSource(e.Source))
		from := c.have.reach(max(e.From, 0))
		c.have.add(from, min(e.To, c.size), "")
	}
	if c.missing() == 0 {
		// Only an answer says that this repository has the blob, so that
		// something has to be asked for.
		c.have.trim(c.size - min(holdBack, c.size))
	}
	return true
}

// continues reports whether an upstream that answers by a login may go on with what an
// earlier attempt left. Clients read that before a digest can tell anything, and an
// upstream that only says that it has the blob is not to show them what took the login
// of another (docs/faults.md F52).
func (c *blobCopy) continues(login string) bool {
	return !slices.ContainsFunc(c.left, func(took string) bool { return took != Anonymous && (took == "" || took != login) })
}

// tookLogin reports whether what an earlier attempt left took a login.
func (c *blobCopy) tookLogin() bool {
	return slices.ContainsFunc(c.left, func(took string) bool { return took != Anonymous })
}

// sourceOf is what the journal keeps of where bytes came from: the upstream, and the
// login that they took.
func sourceOf(upstream, login string) string { return upstream + " " + login }

// loginOfSource returns the login of a journal's source; "" if that is not known.
func loginOfSource(source string) string {
	i := strings.LastIndexByte(source, ' ')
	if i < 0 {
		return ""
	}
	return source[i+1:]
}

// resize takes the size that another upstream names, where none but an upstream has told
// and that one could not send as much: its word would otherwise stand against every
// other for ever. What is there is kept, clients that were told the first size are cut,
// and the digest has the last word (docs/faults.md F19). It returns false if the first
// size stands.
func (c *blobCopy) resize(size int64, by string) bool {
	if !c.confirmed || !c.shortOf || by == c.sizedBy || size <= 0 || size == c.size || size < c.have.end() {
		return false
	}
	c.size, c.sizedBy, c.shortOf = size, by, false
	return true
}

// forget makes the copy an empty one, as far as memory goes. It returns whether
// there is something in its file to be thrown away.
func (c *blobCopy) forget() (had bool) {
	had = c.have.total > 0
	c.have, c.size, c.left = ranges{}, -1, nil
	return had
}

// record puts into the journal of the disk what has been written. extents are
// those of c.journal; only the goroutine that owns the spool calls it.
func (c *blobCopy) record(extents []blobstore.Extent) error {
	for _, e := range extents {
		if err := c.back.spool.Record(e); err != nil {
			return err
		}
	}
	return nil
}

// access is what it took to get the copy at hand. It is guarded by the fill's
// mutex.
type access struct {
	public  bool   // known from before: nothing makes it private
	private bool   // it took a login to get the copy, or a part of it
	login   string // the last one that it took
}

// restart is for another copy: of an earlier one nothing is left, but for a part that
// may have taken a login.
func (a *access) restart(tookLogin bool) { a.private = tookLogin && !a.public }

// add notes whether what comes took a login. One part that did makes the copy
// private: an anonymous answer that brought nothing, or junk, proves nothing.
func (a *access) add(private bool) { a.private = a.private || private && !a.public }
