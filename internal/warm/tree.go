package warm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/wire"
)

// maxNesting is how deep an index may lie in an index. The specification says
// nothing of it; no builder goes beyond two.
const maxNesting = 4

// A tree is an image's manifests, from the root down, and the blobs that they
// name. It is read by one goroutine.
type tree struct {
	w     *Warming
	img   Image
	seen  map[digest.Digest]bool
	blobs []pullchain.Descriptor
}

// manifest fetches the image's own manifest and all below it.
func (t *tree) manifest(ctx context.Context) (manifest, error) {
	m, err := t.one(ctx, t.img.Reference)
	if err != nil {
		return m, err
	}
	return m, t.below(ctx, m, 1)
}

// one fetches one manifest. It may be called by several goroutines.
func (t *tree) one(ctx context.Context, ref string) (manifest, error) {
	if !take(ctx, t.w.slots) {
		return manifest{}, ctx.Err()
	}
	defer func() { <-t.w.slots }()
	m, err := t.w.Mirror.manifest(ctx, t.img, ref)
	// Found out at the first manifest, and not after gigabytes of layers.
	if err == nil && m.cached == NotKept {
		err = ErrNotKept
	}
	return m, err
}

// below goes on with what a manifest names.
func (t *tree) below(ctx context.Context, m manifest, depth int) error {
	switch {
	case wire.IsIndexType(m.mediaType):
		return t.index(ctx, m, depth)
	case m.links == nil:
		return fmt.Errorf("%s: manifests of this kind are not Result", m.mediaType)
	}
	for _, d := range m.links {
		if t.first(d.Digest) {
			t.blobs = append(t.blobs, d)
		}
	}
	return nil
}

// index goes on with the manifests of an index, which are fetched all at once:
// there are dozens of them in an image for all platforms.
func (t *tree) index(ctx context.Context, m manifest, depth int) error {
	if depth == maxNesting {
		return errors.New("an index in an index in an index, and so on")
	}
	chosen, err := choose(m.body, t.w.Platforms)
	if err != nil {
		return err
	}
	// An index may name a manifest twice, and images of an index share their
	// layers.
	chosen = slices.DeleteFunc(chosen, func(d digest.Digest) bool { return !t.first(d) })
	children := make([]manifest, len(chosen))
	errs := make([]error, len(chosen))
	var all sync.WaitGroup
	for i, d := range chosen {
		all.Go(func() {
			errs[i] = guard.Try(func() (err error) {
				children[i], err = t.one(ctx, d.String())
				return err
			})
		})
	}
	all.Wait()
	for i, d := range chosen {
		if errs[i] == nil {
			errs[i] = t.below(ctx, children[i], depth+1)
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%s: %w", Short(d), errs[i])
		}
	}
	return errors.Join(unlike(slices.DeleteFunc(errs, func(err error) bool { return err == nil }))...)
}

// first reports whether d has not been seen in this tree.
func (t *tree) first(d digest.Digest) bool {
	if t.seen == nil {
		t.seen = map[digest.Digest]bool{}
	}
	again := t.seen[d]
	t.seen[d] = true
	return !again
}

// Short cuts a digest to what people compare.
func Short(d digest.Digest) string {
	_, sum, _ := strings.Cut(d.String(), ":")
	return sum[:min(len(sum), 12)]
}
