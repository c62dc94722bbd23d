package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// A Change is what an operator's wish came to.
type Change struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// Evict removes what is named by what, pinned or not: an image by its tag
// ("docker.io/library/alpine:3.20"), all of a repository
// ("docker.io/library/alpine"), or one digest. What belongs to other images too
// stays, but for a digest that is named itself. What attempts have left of blobs
// goes as whole ones do; what is being fetched stays. The error is
// blobstore.ErrNotFound when nothing of that name is here, blobstore.ErrInUse when
// it is being fetched, and has the Reason Invalid when it is no name.
func (c *Cache) Evict(ctx context.Context, what string) (Change, error) {
	g, a, err := c.target(ctx, what)
	if err != nil {
		return Change{}, err
	}
	for _, key := range a.tags {
		c.tags.forget(key)
	}
	toDelete := g.below(a.roots)
	needed := g.below(g.others(a, toDelete))
	var change Change
	var errs []error
	for d := range toDelete {
		if needed[d] && d != a.digest {
			continue
		}
		freed, err := c.remove(g, d)
		c.manifests.memory.Invalidate(d) // last: what was being read comes back until then
		switch {
		case err == nil:
			change.Objects++
			change.Bytes += freed
		case errors.Is(err, blobstore.ErrNotFound):
		case errors.Is(err, blobstore.ErrInUse) && d != a.digest: // as if it had not begun yet
		default:
			errs = append(errs, err)
		}
	}
	return change, errors.Join(errs...)
}

// remove removes d, whole or not, and returns how many bytes that freed.
func (c *Cache) remove(g *graph, d digest.Digest) (freed int64, err error) {
	if info, here := g.objects[d]; here {
		return info.Size, c.store.Remove(d)
	}
	if _, here := g.partial[d]; here {
		return c.store.RemovePartial(d)
	}
	return 0, blobstore.ErrNotFound
}

// Pin keeps what is named by what from being evicted to make room, or no longer:
// the manifests, and everything that they are made of, as far as it is here. What
// another pinned image needs too stays pinned. It outlives restarts. Errors are
// as of [Cache.Evict]; a partial blob is not to be found.
func (c *Cache) Pin(ctx context.Context, what string, pinned bool) (Change, error) {
	g, a, err := c.target(ctx, what)
	if err != nil {
		return Change{}, err
	}
	if _, partial := g.partial[a.digest]; partial { // whose pin would have no place to be kept
		return Change{}, notHere(what)
	}
	chosen := g.below(a.roots)
	var needed set
	if !pinned {
		others := make(set)
		for d, info := range g.objects {
			if info.Pinned && !chosen[d] && g.links[d] != nil {
				others[d] = true
			}
		}
		needed = g.below(others)
	}
	var change Change
	var errs []error
	for d := range chosen {
		info, here := g.objects[d]
		if !here || info.Pinned == pinned || needed[d] {
			continue
		}
		if err := c.store.Update(d, func(m *blobstore.Meta) { m.Pinned = pinned }); err != nil {
			errs = append(errs, err)
			continue
		}
		change.Objects++
		change.Bytes += info.Size
	}
	return change, errors.Join(errs...)
}

// A target is what an operator's words come to.
type target struct {
	digest digest.Digest // when it was named itself
	roots  set
	tags   []tagKey
	repos  map[string]bool // whose the roots are
}

// target finds what is named by what.
func (c *Cache) target(ctx context.Context, what string) (*graph, target, error) {
	name, err := parseName(what)
	if err != nil {
		return nil, target{}, &pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeInvalid, Err: err}
	}
	g, err := c.graph(ctx)
	if err != nil {
		return nil, target{}, err
	}
	a := target{digest: name.digest, roots: make(set), repos: make(map[string]bool)}
	for key, d := range g.tags {
		if name.means(key, d) {
			a.tags = append(a.tags, key)
			a.roots[d] = true
			a.repos[key.Repository.String()] = true
		}
	}
	for d, info := range g.objects {
		_, belongs := info.Repos[name.Repository.String()]
		if d == name.digest || name.all() && belongs {
			a.roots[d] = true
		}
	}
	if name.digest != "" {
		for repo := range g.objects[name.digest].Repos {
			a.repos[repo] = true
		}
	} else {
		a.repos[name.Repository.String()] = true
	}
	if _, here := g.partial[name.digest]; here {
		a.roots[name.digest] = true
	}
	if len(a.roots) == 0 {
		return nil, target{}, notHere(what)
	}
	return g, a, nil
}

// notHere is the error for a name that nothing here has.
func notHere(what string) error { return fmt.Errorf("%s: %w", wire.Clip(what), blobstore.ErrNotFound) }

// others returns the roots that need nothing of what is to be deleted: the other
// tags, the other manifests, and what other repositories have asked for too.
func (g *graph) others(t target, toDelete set) set {
	roots := make(set)
	for key, d := range g.tags {
		if !slices.Contains(t.tags, key) {
			roots[d] = true
		}
	}
	for d := range g.links {
		if !toDelete[d] {
			roots[d] = true
		}
	}
	for d := range toDelete {
		for repo := range g.objects[d].Repos {
			if !t.repos[repo] {
				roots[d] = true
			}
		}
	}
	return roots
}

// A name is what people call content: one digest, a tag, or all of a repository.
type name struct {
	fill.Repository
	tag    string
	digest digest.Digest
}

func (n name) all() bool { return n.digest == "" && n.tag == "" }

// means reports whether n names the tag of key, which stands for d.
func (n name) means(key tagKey, d digest.Digest) bool {
	if n.digest != "" {
		return n.digest == d
	}
	return n.Registry == key.Registry && n.Name == key.Name && (n.tag == "" || n.tag == key.tag)
}

// parseName reads a digest, or an image's name as docker spells it: a registry
// that is not named is docker.io, which keeps images of one word under library/.
func parseName(what string) (name, error) {
	what = strings.TrimSpace(what)
	image, sum, byDigest := strings.Cut(what, "@")
	if !byDigest && (strings.HasPrefix(what, "sha256:") || strings.HasPrefix(what, "sha512:")) {
		image, sum, byDigest = "", what, true
	}
	if byDigest {
		d, err := wire.CheckDigest(sum)
		return name{digest: d}, err
	}
	var n name
	n.Registry, n.Name = "docker.io", image
	if host, rest, ok := strings.Cut(image, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		n.Registry, n.Name = host, rest
	}
	var tagged bool
	n.Name, n.tag, tagged = strings.Cut(n.Name, ":")
	if n.Registry == "docker.io" {
		n.Name = wire.OfficialRepo(n.Name)
	}
	if err := wire.CheckRepo(n.Name); err != nil {
		return name{}, err
	}
	if tagged { // "alpine:" is a slip, and not all of alpine
		return n, wire.CheckTag(n.tag)
	}
	return n, nil
}

// Verify hashes every object, tells report of each, and sets aside those that are
// wrong. A manifest whose right bytes are in memory is stored again. It ends
// early when ctx is done.
func (c *Cache) Verify(ctx context.Context, report func(blobstore.Finding)) error {
	var wrong []digest.Digest
	err := c.store.Verify(ctx, func(f blobstore.Finding) {
		if f.Err != nil {
			wrong = append(wrong, f.Digest)
		}
		report(f)
	})
	for _, d := range wrong {
		c.manifests.mend(d)
	}
	return err
}

// GC removes what is not needed, and returns how many bytes that freed: see
// [blobstore.Store.GC].
func (c *Cache) GC(ctx context.Context) (freed int64, err error) { return c.store.GC(ctx) }
