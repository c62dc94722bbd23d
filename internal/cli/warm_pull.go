package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// A warming is one run of `cache warm`: images through a mirror, their blobs a
// few at a time. It has no memory of its own: what an earlier run has fetched, the
// cache has, and what it has is not fetched.
type warming struct {
	mirror    *mirror
	platforms []platform // none are all
	dry       bool       // fetch manifests, and no blob
	board     *board
	slots     chan struct{} // one for each answer that is being read

	mu    sync.Mutex
	blobs map[string]*transfer // by registry, repository and digest
}

// A transfer is one blob, which several images may wait for.
type transfer struct {
	done   chan struct{} // closed when the rest is set
	cached cached
	err    error
}

// A warmed is how it went with an image. Its JSON is the answer to -o json.
type warmed struct {
	Image   string        `json:"image"`
	From    string        `json:"from"` // the file and line that named it; empty for an argument
	Digest  digest.Digest `json:"digest"`
	OK      bool          `json:"ok"`
	Error   string        `json:"error"`
	Stale   bool          `json:"stale"` // no upstream could say whether the tag has moved
	Blobs   int           `json:"blobs"` // all that it needs
	Bytes   int64         `json:"bytes"`
	Fetched int           `json:"fetched_blobs"` // of these, what the cache did not have; with --dry-run, does not
	New     int64         `json:"fetched_bytes"`

	err error
}

// smallBlob is a blob that is read rather than asked for.
const smallBlob = 64 << 10

// run warms all images, a few of them at a time, in their order, and returns how
// it went with each that was begun.
func (w *warming) run(ctx context.Context, images []image) []warmed {
	out := make([]warmed, len(images))
	begun := 0
	// Turns are for images and slots for requests: with slots alone the manifests
	// of all images would be fetched before the first blob, and an interrupt would
	// leave none of them whole.
	turns := make(chan struct{}, cap(w.slots))
	var all sync.WaitGroup
	for i, img := range images {
		if !take(ctx, turns) {
			break
		}
		begun++
		all.Go(func() {
			out[i] = w.image(ctx, img)
			<-turns
		})
	}
	all.Wait()
	// An image that was interrupted is left out: it neither failed nor is done.
	return slices.DeleteFunc(out[:begun], func(one warmed) bool { return errors.Is(one.err, context.Canceled) })
}

// take takes a place in a semaphore, unless ctx is done before.
func take(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// image warms one image and tells the board.
func (w *warming) image(ctx context.Context, img image) warmed {
	out := warmed{Image: img.String(), From: img.from}
	t := tree{w: w, img: img}
	root, err := t.manifest(ctx)
	out.Digest, out.Stale = root.digest, root.cached == cachedStale
	if err == nil {
		err = w.fetch(ctx, img, t.blobs, &out)
	}
	out.OK, out.err = err == nil, err
	if err != nil {
		out.Error = err.Error()
	}
	if !errors.Is(err, context.Canceled) {
		w.board.finished(out)
	}
	return out
}

// fetch fetches what the cache does not have of blobs.
func (w *warming) fetch(ctx context.Context, img image, blobs []pullchain.Descriptor, out *warmed) error {
	waiting := make([]*transfer, len(blobs))
	for i, d := range blobs {
		waiting[i] = w.transfer(ctx, img, d)
	}
	var errs []error
	for i, t := range waiting {
		<-t.done
		out.Blobs++
		out.Bytes += blobs[i].Size
		switch {
		case t.err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", short(blobs[i].Digest), t.err))
		case !t.cached.there():
			out.Fetched++
			out.New += blobs[i].Size
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(unlike(errs)...)
}

// unlike leaves out all but the first of errors that say the same of different
// blobs, as they do when an upstream is down.
func unlike(errs []error) []error {
	seen := map[string]bool{}
	return slices.DeleteFunc(errs, func(err error) bool {
		_, text, _ := strings.Cut(err.Error(), ": ")
		again := seen[text]
		seen[text] = true
		return again
	})
}

// transfer returns the one transfer of a blob.
func (w *warming) transfer(ctx context.Context, img image, d pullchain.Descriptor) *transfer {
	// By repository too: the cache may have a blob of another repository that it
	// must not give out for this one.
	key := img.registry + "/" + img.repo + "@" + d.Digest.String()
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.blobs[key]; t != nil {
		return t
	}
	if w.blobs == nil {
		w.blobs = map[string]*transfer{}
	}
	t := &transfer{done: make(chan struct{})}
	w.blobs[key] = t
	w.board.expect(d)
	go func() { // ends when its blob does, and each image that wants the blob waits for that
		defer close(t.done)
		t.cached, t.err = w.blob(ctx, img, d)
	}()
	return t
}

// blob sees to it that the cache has a blob.
func (w *warming) blob(ctx context.Context, img image, d pullchain.Descriptor) (cached, error) {
	word, err := w.read(ctx, img, d)
	if err == nil && !word.there() && !w.dry {
		err = w.mirror.kept(ctx, img, d.Digest)
	}
	return word, err
}

// read reads a blob that the cache does not have, so that it does.
func (w *warming) read(ctx context.Context, img image, d pullchain.Descriptor) (cached, error) {
	if !take(ctx, w.slots) {
		return "", ctx.Err()
	}
	defer func() { <-w.slots }()
	// To ask first costs a round trip and saves the body; for a small blob the body
	// is cheaper.
	if (d.Size > smallBlob || w.dry) && w.mirror.look(ctx, img, d.Digest).there() {
		w.board.skipped(d)
		return cachedHit, nil
	}
	if w.dry {
		w.board.missing(img, d)
		return cachedStored, nil
	}
	bar := w.board.begin(img, d)
	began := time.Now()
	word, err := w.mirror.blob(ctx, img, d.Digest, bar.add)
	if foreign(d.MediaType) && isNotFound(err) {
		word, err = cachedHit, nil // it is kept elsewhere by design, and clients do not look for it here
	}
	w.board.end(bar, word, time.Since(began), err)
	return word, err
}

// foreign reports whether a layer is one that registries need not have (OCI
// image-spec, layer.md, "Non-Distributable Layers").
func foreign(mediaType string) bool {
	return strings.Contains(mediaType, ".nondistributable.") || strings.Contains(mediaType, ".foreign.")
}

func isNotFound(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status == http.StatusNotFound
}
