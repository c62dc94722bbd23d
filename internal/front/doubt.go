package front

import (
	"strings"
	"sync"

	"github.com/pullchain/pullchain"
)

// twiceAdvice is for a person whose hosts.toml has a mirror with a path, which
// containerd follows with "/v2" unless it is told not to.
const twiceAdvice = "the path has /v2/ before the registry's name and after it: set override_path = true for this mirror in hosts.toml"

// fetch asks the registry's chain. Where the first component of the name may be none
// of it, the name is asked for with it, for there may be such a repository, and if
// there is none, without it.
//
// That a mistake in a client's file is made good must not give it another image than
// the one it named: so the other order, which would spare a request, is not for us.
func (x *exchange) fetch() (pullchain.Response, error) {
	whole := x.req.Repo
	short, inDoubt := strings.CutPrefix(whole, x.doubt+"/")
	inDoubt = inDoubt && x.doubt != ""
	if inDoubt && x.req.Digest != "" && x.h.shortened.has(x.req.Registry, whole) {
		x.shorten(short)
		inDoubt = false
	}
	resp, err := x.registry.Fetcher.Fetch(x.r.Context(), x.req)
	if err == nil || !inDoubt || !isNo(err) {
		x.doubt = ""
		return resp, err
	}
	x.req.Repo = short
	second, secondErr := x.registry.Fetcher.Fetch(x.r.Context(), x.req)
	if secondErr != nil && isNo(secondErr) {
		x.req.Repo, x.doubt = whole, ""
		return resp, err // of the name that the client sent
	}
	if secondErr == nil {
		x.h.shortened.add(x.req.Registry, whole)
	}
	x.shorten(short)
	return second, secondErr
}

// shorten settles the doubt: the name is short.
func (x *exchange) shorten(short string) {
	x.req.Repo, x.twice, x.doubt = short, x.doubt == "v2", ""
}

// isNo reports whether err says that there is no such repository, or none for us:
// registries do not tell these apart.
func isNo(err error) bool {
	reason := pullchain.ReasonOf(err)
	return reason == pullchain.NotFound || reason == pullchain.Denied
}

// shortened remembers which names in doubt stand for the shorter ones, so that not
// each layer of an image is asked for twice: there are mirrors that bar a client for
// a hundred answers of 404 (docs/protocol.md 4.2). It lasts as long as the process,
// and is for what a digest names alone: of a tag there may be one by the longer name, which is
// another image.
// Safe for concurrent use; the zero value has none.
type shortened struct {
	mu    sync.Mutex
	names map[[2]string]struct{} // registry and name
}

// maxShortened bounds what clients can make us remember.
const maxShortened = 1000

func (s *shortened) has(registry, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.names[[2]string{registry, name}]
	return ok
}

func (s *shortened) add(registry, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil || len(s.names) >= maxShortened {
		s.names = make(map[[2]string]struct{})
	}
	s.names[[2]string{registry, name}] = struct{}{}
}
