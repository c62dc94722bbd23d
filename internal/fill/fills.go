package fill

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// Config is what Fills are made of.
type Config struct {
	Store *blobstore.Store // required; the caller closes it, after the Fills
	Log   *slog.Logger     // nil discards

	// VerifyMax is up to how many bytes of a blob from an upstream that is not trusted
	// are kept back until all are right; 0: DefaultVerifyMax.
	VerifyMax int64
}

// DefaultVerifyMax is larger than nearly every layer. A client waits for the whole of
// such a blob, and then gets it in one go.
const DefaultVerifyMax = 2 << 30

// Fills are the blobs being fetched, one fill a digest. A fill belongs to no
// request: its context is that of the Fills. They are safe for concurrent use.
type Fills struct {
	store  *blobstore.Store
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // every goroutine of every fill

	// open opens the disk side of a fill; tests put a failing disk here.
	open func(digest.Digest) (backing, error)

	verifyMax atomic.Int64

	counts    counts
	large     atomic.Int64 // large buffers in use
	abandoned abandonedFills

	mu       sync.Mutex
	closed   bool
	byDigest map[digest.Digest]*fill
}

// New returns Fills into c.Store. They must be closed, before the Store is.
func New(c Config) *Fills {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Fills{store: c.Store, log: c.Log, byDigest: make(map[digest.Digest]*fill)}
	s.SetVerifyMax(c.VerifyMax)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.open = func(d digest.Digest) (backing, error) { return openBacking(s.ctx, c.Store, d) }
	return s
}

// SetVerifyMax changes [Config].VerifyMax for the blobs that are asked for from now on.
func (s *Fills) SetVerifyMax(n int64) { s.verifyMax.Store(cmp.Or(n, DefaultVerifyMax)) }

// errRetryFill says that a fill can be of no use to a reader that waited for it,
// and that another may.
var errRetryFill = errors.New("the fill was for other readers")

// Fetch answers the GET of a blob that the store has not, or has not verified. It
// joins the fill of the digest or begins one. The Body must be closed. Errors are
// *pullchain.Error.
//
// admit is asked before the fill of another repository is joined, with whether
// it took a login to fetch; its error is for this client alone.
func (s *Fills) Fetch(ctx context.Context, reg *Registry, req pullchain.Request, admit func(private bool) error) (pullchain.Response, error) {
	if !req.Digest.Algorithm().Available() {
		return s.Bypass(ctx, reg, req) // nothing to verify bytes with
	}
	for {
		f, r := s.join(ctx, reg, req)
		switch {
		case f == nil:
			return pullchain.Response{}, canceledBy(ErrClosed)
		case r == nil && f.req.Bearer != req.Bearer: // no client waits for what another's own login may bring
			return s.Bypass(ctx, reg, req)
		}
		if r != nil {
			resp, err := r.open(admit)
			if err != errRetryFill {
				return resp, err
			}
		}
		select {
		case <-f.gone:
		case <-ctx.Done():
			return pullchain.Response{}, Canceled(ctx)
		}
	}
}

// join returns the fill of req's digest with a new reader. The reader is nil when
// the fill is about to end, or is for another client's own login; both are nil when the
// Fills are closed.
func (s *Fills) join(ctx context.Context, reg *Registry, req pullchain.Request) (*fill, *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil
	}
	if f := s.byDigest[req.Digest]; f != nil && f.req.Bearer != req.Bearer {
		return f, nil
	} else if f != nil {
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

// remove forgets f, whose file has been let go of: the next request begins anew.
func (s *Fills) remove(f *fill) {
	s.abandoned.remove(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byDigest, f.digest)
	close(f.gone)
}

// Underway is what is known of a blob that is being fetched.
type Underway struct {
	Size    int64      // in bytes; -1 if it is not known
	By      Repository // it is fetched for; zero if the store's own word has to do
	Private bool       // it took a login
	Login   string     // which; see [LoginOf]
}

// Expired reports whether the login that the fetch took is gone from r's
// configuration since it was begun.
func (u Underway) Expired(r *Registry) bool { return u.Private && !r.StandsFor(u.By.Holder, u.Login) }

// Underway says what is known of a blob that is being fetched. ok is false until
// an upstream has answered.
func (s *Fills) Underway(d digest.Digest) (u Underway, ok bool) {
	s.mu.Lock()
	f := s.byDigest[d]
	s.mu.Unlock()
	if f == nil {
		return Underway{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	u = f.underwayLocked()
	return u, u.Size >= 0 && f.copy.described() && (f.phase == running || f.phase == verified)
}

// Close ends all fills and waits for them. What they have is kept for later.
// Fetches after it fail.
func (s *Fills) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel(ErrClosed)
	s.wg.Wait()
}
