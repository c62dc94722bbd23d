package cache

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// renew asks the upstreams whether the repository of req may read content that took a
// login and is here, once for all that want to know, and remembers what they say. It
// returns the attempts of that.
func (h *chain) renew(ctx context.Context, req pullchain.Request, meta blobstore.Meta, noForce bool) ([]pullchain.Attempt, error) {
	c := h.cache
	key := proofKey{h.repository(req), req.Digest}
	own, forcing := headKey{h.registry, key, req.Op, noForce}, headKey{h.registry, key, req.Op, false}
	attempts, _, err := c.renewals.do(ctx, own, func(ctx context.Context) ([]pullchain.Attempt, error) {
		q := renewal{chain: h, key: key, givers: c.access.giversOf(h.registry, key, meta), req: pullchain.Request{
			Op: req.Op, Registry: h.registry.Name, Repo: req.Repo, Digest: req.Digest, Size: req.Size, Bearer: req.Bearer,
			Options: pullchain.FetchOptions{NoForce: noForce},
		}}
		err := q.ask(ctx)
		if err != nil {
			c.access.revokeBy(h.registry, err, key)
			return nil, err
		}
		return q.attempts, nil
	}, forcing)
	return attempts, err
}

// A renewal is the question whether a repository may read what took a login.
type renewal struct {
	*chain
	key      proofKey
	givers   givers
	req      pullchain.Request // a GET of the content
	attempts []pullchain.Attempt
}

// ask asks for headers where a lane has a login that has given the content: as a rule
// that lane answers, and no byte need come. Where it does not, or there is none, an
// upstream has to show that it has the bytes.
func (q *renewal) ask(ctx context.Context) error {
	login, held := q.givers.held(q.registry)
	q.req.Options.Login = login
	if !held {
		return q.askForBytes(ctx)
	}
	req := q.req
	req.Head, req.Options.HeadersOnly = true, true
	resp, err := q.registry.Next.Fetch(ctx, req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if size, here := q.cache.sizeOf(q.key.digest); here && resp.Size >= 0 && resp.Size != size {
		return &pullchain.Error{
			Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize, Attempts: resp.Attempts,
			Err: fmt.Errorf("said to be of %d bytes, and is of %d", resp.Size, size),
		}
	}
	if said := (yes{login: fill.LoginOf(resp)}); q.givers.count(said) {
		q.attempts = resp.Attempts
		q.cache.access.grant(q.key, said.login, false) // an upstream that says yes need not have the bytes
		return nil
	}
	q.cache.access.revokeIn(q.registry, resp.Attempts, q.key)
	err = q.askForBytes(ctx)
	q.attempts = slices.Concat(resp.Attempts, q.attempts)
	return after(notShown(resp.Attempts), err)
}

// askForBytes has an upstream show that it has the content.
func (q *renewal) askForBytes(ctx context.Context) error {
	if q.req.Op != pullchain.Manifest {
		return q.askForSample(ctx)
	}
	f, _, err := q.fetchManifest(ctx, q.req) // small, and what it says of access is noted
	if err != nil {
		return err
	}
	q.attempts = f.attempts
	return nil
}

// errApart says that content can be read apart from what is here only: that is not whole
// yet, or may be wrong, so that the bytes of another upstream cannot be held against it.
var errApart = fill.ErrApart

// askForSample asks for a part of a blob that no upstream can foresee, and compares it
// with what is here.
func (q *renewal) askForSample(ctx context.Context) error {
	at, want, err := q.cache.sample(q.key.digest)
	if err != nil {
		return err
	}
	req := q.req
	if size, _ := q.cache.sizeOf(q.key.digest); int64(len(want)) < size {
		req.Range = pullchain.Range{From: at, To: at + int64(len(want))}
	}
	resp, err := q.registry.Next.Fetch(ctx, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, int64(len(want))+1))
	from := resp.Body.Source()
	q.attempts = resp.Trace()
	switch {
	case err != nil:
		return after(q.attempts, err)
	case bytes.Equal(got, want):
	case !q.cache.hashed(q.key.digest):
		return errApart // it is not known whose bytes are wrong
	default:
		return &pullchain.Error{
			Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Reach: pullchain.ReachRequest, Attempts: q.attempts,
			Err: fmt.Errorf("the bytes from %d on are not those that are here", at),
		}
	}
	login := cmp.Or(from.Login, resp.Login)
	if !resp.Private && !from.Private {
		login = fill.Anonymous
	}
	q.cache.access.grant(q.key, login, false) // a part makes nothing public
	return nil
}

// sampleBytes is how much of a blob is compared: what an upstream cannot have guessed.
const sampleBytes = 4 << 10

// sample returns some bytes of content that is here, and where they are: all of it
// where it is small, else from a place that chance picks.
func (c *Cache) sample(d digest.Digest) (at int64, part []byte, err error) {
	if m, ok := c.manifests.memory.GetIfPresent(d); ok {
		return sampleOf(bytes.NewReader(m.body), int64(len(m.body)))
	}
	object, err := c.store.Peek(d)
	switch {
	case errors.Is(err, blobstore.ErrNotFound):
		return 0, nil, errApart
	case err != nil:
		return 0, nil, fill.AsError(err)
	}
	defer object.Close()
	return sampleOf(object.File, object.Size)
}

// hashed reports whether the bytes of content that is here are known to be right.
func (c *Cache) hashed(d digest.Digest) bool {
	info, stored := c.store.Stat(d)
	return !stored || info.Verified
}

func sampleOf(content io.ReaderAt, size int64) (at int64, part []byte, err error) {
	part = make([]byte, min(size, sampleBytes))
	if last := size - int64(len(part)); last > 0 {
		n, err := rand.Int(rand.Reader, big.NewInt(last+1))
		if err != nil {
			return 0, nil, fill.AsError(err)
		}
		at = n.Int64()
	}
	if n, err := content.ReadAt(part, at); n < len(part) {
		return 0, nil, fill.AsError(err)
	}
	return at, part, nil
}

// notShown returns the attempts of a HEAD that was answered in vain: the yes is none.
func notShown(attempts []pullchain.Attempt) []pullchain.Attempt {
	marked := slices.Clone(attempts)
	for i, a := range marked {
		if a.Err == nil && a.Gate == "" {
			marked[i].Err = &pullchain.Error{
				Reason: pullchain.Refused, Code: pullchain.CodeUnexpected, Upstream: a.Upstream, Reach: pullchain.ReachRequest, Err: errNotShown,
			}
		}
	}
	return marked
}

var errNotShown = errors.New("it says that it has what took another login, and has yet to show a byte of it")

// after returns err as the outcome of the attempts before it, too; nil for nil.
func after(before []pullchain.Attempt, err error) error {
	if err == nil || err == errApart {
		return err
	}
	all := *fill.AsError(err)
	all.Attempts = slices.Concat(before, all.Attempts)
	return &all
}
