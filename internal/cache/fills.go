package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// fills are the blobs being fetched, one fill a digest. A fill belongs to nobody's
// request: its context is that of the cache. It is safe for concurrent use.
type fills struct {
	store  *blobstore.Store
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // every goroutine of every fill

	// open opens the disk side of a fill; tests put a failing disk here.
	open func(digest.Digest) (backing, error)

	counts fillCounts
	large  atomic.Int64 // buffers in use

	mu       sync.Mutex
	closed   bool
	byDigest map[digest.Digest]*fill
}

// fillCounts count since the start.
type fillCounts struct {
	begun, coalesced, bypassed, suspended, mismatches, repaired, unkept, helpers atomic.Uint64
	bytes                                                                        atomic.Int64
}

// fillsSnapshot is the fills as they stand, as plain values.
type fillsSnapshot struct {
	Active     int    `json:"active"`
	Begun      uint64 `json:"begun"`
	Coalesced  uint64 `json:"coalesced"`     // requests that joined a fill
	Bypassed   uint64 `json:"bypassed"`      // requests served past a store that could not be written
	Suspended  uint64 `json:"suspended"`     // given up for now, with what was there kept
	Mismatches uint64 `json:"mismatches"`    // copies whose digest was wrong
	Repaired   uint64 `json:"repaired"`      // blobs that were right after such a copy
	Unkept     uint64 `json:"unkept"`        // right, and could not be stored
	Helpers    uint64 `json:"helpers"`       // connections begun to make a fill faster
	Fetched    int64  `json:"fetched_bytes"` // from upstreams
}

func newFills(store *blobstore.Store, log *slog.Logger) *fills {
	s := &fills{store: store, log: log, byDigest: make(map[digest.Digest]*fill)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.open = func(d digest.Digest) (backing, error) { return openBacking(store, d) }
	return s
}

// errAnew says that a fill can be of no use to who waited for it, and that
// another may.
var errAnew = errors.New("the fill was somebody else's")

// fetch answers the GET of a blob that the store has not, or has not verified. It
// joins the fill of the digest or begins one.
//
// admit is asked before the fill of another repository is joined, with whether
// it took a login to fetch; its error is for this client alone.
func (s *fills) fetch(ctx context.Context, reg *registry, req pullchain.Request, admit func(private bool) error) (pullchain.Response, error) {
	if !req.Digest.Algorithm().Available() {
		return s.direct(ctx, reg, req) // nothing to prove bytes with
	}
	for {
		f, r := s.join(ctx, reg, req)
		if f == nil {
			return pullchain.Response{}, canceledError(errClosed)
		}
		if r != nil {
			resp, err := r.open(admit)
			if err != errAnew {
				return resp, err
			}
		}
		select {
		case <-f.gone:
		case <-ctx.Done():
			return pullchain.Response{}, canceled(ctx)
		}
	}
}

// join returns the fill of req's digest with a new reader. The reader is nil when
// the fill is about to end; both are nil when the cache is closed.
func (s *fills) join(ctx context.Context, reg *registry, req pullchain.Request) (*fill, *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil
	}
	if f := s.byDigest[req.Digest]; f != nil {
		return f, f.attach(ctx, reg, req)
	}
	f := newFill(s, reg, req)
	r := f.attach(ctx, reg, req)
	r.first = true
	s.byDigest[req.Digest] = f
	s.counts.begun.Add(1)
	s.wg.Go(f.run)
	return f, r
}

// remove forgets f, whose spool has ended: the next request begins anew.
func (s *fills) remove(f *fill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byDigest, f.digest)
	close(f.gone)
}

// An underway is what is known of a blob that is being fetched.
type underway struct {
	size    int64
	by      repoKey // for whom
	private bool    // it took a login
	login   string  // which
}

// expired reports whether the login that the fetch took is gone from r's
// configuration since it was begun.
func (u underway) expired(r *registry) bool { return u.private && !r.stands(u.login) }

func (f *fill) underwayLocked() underway { return underway{f.size, f.by, f.private, f.login} }

// head says what is known of a blob that is being fetched. ok is false until an
// upstream has answered.
func (s *fills) head(d digest.Digest) (u underway, ok bool) {
	s.mu.Lock()
	f := s.byDigest[d]
	s.mu.Unlock()
	if f == nil {
		return underway{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.underwayLocked(), f.size >= 0 && f.toldLocked() && (f.state == running || f.state == proved)
}

// close ends all fills and waits for them. What they have is kept for later.
func (s *fills) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel(errClosed)
	s.wg.Wait()
}

func (s *fills) snapshot() fillsSnapshot {
	s.mu.Lock()
	active := len(s.byDigest)
	s.mu.Unlock()
	return fillsSnapshot{
		Active:     active,
		Begun:      s.counts.begun.Load(),
		Coalesced:  s.counts.coalesced.Load(),
		Bypassed:   s.counts.bypassed.Load(),
		Suspended:  s.counts.suspended.Load(),
		Mismatches: s.counts.mismatches.Load(),
		Repaired:   s.counts.repaired.Load(),
		Unkept:     s.counts.unkept.Load(),
		Helpers:    s.counts.helpers.Load(),
		Fetched:    s.counts.bytes.Load(),
	}
}

// canceledError is why something of ours ended that was nobody's fault.
func canceledError(cause error) *pullchain.Error {
	return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Err: cause}
}
