package fill

import (
	"context"
	"errors"

	"github.com/pullchain/pullchain"
)

// A Registry is the chain of one registry as a fill, and the cache above it, see
// it. It is not changed after its first use; a reload makes a new one.
type Registry struct {
	Name string            // canonical, as in "docker.io"
	Next pullchain.Fetcher // is asked for what is not here: the balancer

	// Blame holds err against the named upstream, because its bytes of a blob have
	// proved wrong. It may be nil.
	Blame func(upstream string, req pullchain.Request, err error)

	// Holds reports whether the login of a Response is still one of the chain's.
	// What another has fetched may not be read until it is proved anew. Nil: all
	// are.
	Holds func(login string) bool

	// Knows reports whether the named upstream could tell if content that took a
	// login was taken away. The "no" of one that could not leaves it served when
	// no other can be asked. Nil: all could.
	Knows func(upstream string) bool

	// TooSlow reports whether the named upstream, which sends a blob with so many bytes/s
	// to a reader that waits, is to get company from another, and whether it is so slow that
	// company may cost something. Outrun tells whether that was much faster. Nil: none gets company.
	TooSlow func(upstream string, req pullchain.Request, rate float64) (slow, crawls bool)
	Outrun  func(upstream string, req pullchain.Request, faster bool)

	// Waits reports whether a request waits for one of the named upstream's connections
	// to come free: a download that no client waits for ends for it. Nil: none does.
	Waits func(upstream string) bool
}

// Anonymous stands for a login where none was needed.
const Anonymous = "-"

// LoginOf names the login that an answer took.
func LoginOf(resp pullchain.Response) string {
	if !resp.Private {
		return Anonymous
	}
	return resp.Login
}

// Stands reports whether what was fetched with a login may still be read: a reload
// may have taken the login out of the configuration, or put another in its place.
func (r *Registry) Stands(login string) bool {
	return login == Anonymous || !pullchain.IsHolder(login) && (r.Holds == nil || r.Holds(login))
}

// StandsFor is Stands for a [Repository].Holder, to which its own login stands.
func (r *Registry) StandsFor(holder, login string) bool {
	return holder != "" && login == holder || r.Stands(login)
}

func (r *Registry) blame(upstream string, req pullchain.Request, err error) {
	if r.Blame != nil {
		r.Blame(upstream, req, err)
	}
}

// A Repository is a repository of a registry: what access is proved for, and what
// a blob's first fetch was for.
type Repository struct {
	Registry, Name string
	Holder         string // a client that reads by its own login (pullchain.Request.Holder); empty for all others
}

// String returns the repository as blobstore.Meta.Repos spells it, for every holder.
func (r Repository) String() string { return r.Registry + "/" + r.Name }

// RepositoryOf returns what req asks for through reg.
func RepositoryOf(reg *Registry, req pullchain.Request) Repository {
	return Repository{reg.Name, req.Repo, req.Holder()}
}

// ErrClosed is why work ends when the cache is closed.
var ErrClosed = errors.New("the cache is closed")

// Canceled is what a client is told that has gone away while it waited.
func Canceled(ctx context.Context) error { return canceledBy(context.Cause(ctx)) }

// canceledBy is why something of ours ended that is no upstream's fault.
func canceledBy(cause error) *pullchain.Error {
	return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Err: cause}
}

// AsError returns err as a *pullchain.Error, which all that leaves a fill is.
func AsError(err error) *pullchain.Error {
	if e, ok := errors.AsType[*pullchain.Error](err); ok {
		return e
	}
	return &pullchain.Error{Reason: pullchain.ReasonOf(err), Err: err}
}
