// Package warm fetches images through a mirror's data plane as a client does, and throws
// the bytes away, so that the mirror's cache has them: manifests of all platforms or of
// chosen ones, and the blobs that they name. `pullchain cache warm` runs it by hand, and
// the daemon by a schedule.
//
// It goes through the listener and not around it: what it fetches is what clients would be
// given, within the same limits, and it is counted as the pulls that it is.
package warm

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
	"github.com/pullchain/pullchain/internal/guard"
)

// A Warming is one run: images through a mirror, their blobs a few at a time. It has no
// memory of its own: what an earlier run has fetched, the cache has, and what it has is
// not fetched. Its fields are set before the run and not after.
type Warming struct {
	Mirror    *Mirror
	Platforms []Platform // none are all
	Dry       bool       // fetch manifests, and no blob
	Jobs      int        // answers that are read at once; 0 is 1
	Board     Board      // nil: nothing is told but the results

	slots chan struct{} // one for each answer that is being read

	mu    sync.Mutex
	blobs map[string]*transfer // by registry, repository and digest
}

// A transfer is one blob, which several images may wait for.
type transfer struct {
	done   chan struct{} // closed when the rest is set
	cached Cached
	err    error
}

// A Board is told how a Warming goes. Its methods are called by several goroutines.
type Board interface {
	Expect(pullchain.Descriptor)         // a blob that will be skipped, missing, or begun and ended
	Skipped(pullchain.Descriptor)        // the cache has it
	Missing(Image, pullchain.Descriptor) // it would be fetched
	Begin(Image, pullchain.Descriptor) Bar
	Finished(Result)
}

// A Bar is told how a blob comes.
type Bar interface {
	Add(n int) // bytes have come
	End(word Cached, took time.Duration, err error)
}

// A Result is how it went with an image. Its JSON is the answer to -o json.
type Result struct {
	Image   string        `json:"image"`
	From    string        `json:"from"` // the file and line that named it; empty for an argument
	Digest  digest.Digest `json:"digest"`
	OK      bool          `json:"ok"`
	Error   string        `json:"error"`
	Skipped string        `json:"skipped,omitempty"` // why it was not asked for at all: one of the Held words
	Stale   bool          `json:"stale"`             // no upstream could say whether the tag has moved
	Blobs   int           `json:"blobs"`             // all that it needs
	Bytes   int64         `json:"bytes"`
	Fetched int           `json:"fetched_blobs"` // of these, what the cache did not have; with --dry-run, does not
	New     int64         `json:"fetched_bytes"`

	Err error `json:"-"`
}

// smallBlob is a blob that is read rather than asked for.
const smallBlob = 64 << 10

// Run warms all images, a few of them at a time, in their order, and returns how
// it went with each that was begun.
func (w *Warming) Run(ctx context.Context, images []Image) []Result {
	w.slots = make(chan struct{}, max(w.Jobs, 1))
	if w.Board == nil {
		w.Board = silent{}
	}
	out := make([]Result, len(images))
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
			defer func() { <-turns }()
			if err := guard.Try(func() error { out[i] = w.image(ctx, img); return nil }); err != nil {
				out[i] = Result{Image: img.String(), From: img.From, Err: err, Error: err.Error()}
			}
		})
	}
	all.Wait()
	// An image that was interrupted is left out: it neither failed nor is done.
	return slices.DeleteFunc(out[:begun], func(one Result) bool { return errors.Is(one.Err, context.Canceled) })
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
func (w *Warming) image(ctx context.Context, img Image) Result {
	out := Result{Image: img.String(), From: img.From}
	t := tree{w: w, img: img}
	root, err := t.manifest(ctx)
	out.Digest, out.Stale = root.digest, root.cached == Stale
	if err == nil {
		err = w.fetch(ctx, img, t.blobs, &out)
	}
	out.OK, out.Err = err == nil, err
	if err != nil {
		out.Error = err.Error()
	}
	if !errors.Is(err, context.Canceled) {
		w.Board.Finished(out)
	}
	return out
}

// fetch fetches what the cache does not have of blobs.
func (w *Warming) fetch(ctx context.Context, img Image, blobs []pullchain.Descriptor, out *Result) error {
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
			errs = append(errs, fmt.Errorf("%s: %w", Short(blobs[i].Digest), t.err))
		case !t.cached.There():
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
func (w *Warming) transfer(ctx context.Context, img Image, d pullchain.Descriptor) *transfer {
	// By repository too: the cache may have a blob of another repository that it
	// must not give out for this one.
	key := img.Registry + "/" + img.Repo + "@" + d.Digest.String()
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
	w.Board.Expect(d)
	go func() { // ends when its blob does, and each image that wants the blob waits for that
		defer close(t.done)
		t.err = guard.Try(func() (err error) {
			t.cached, err = w.blob(ctx, img, d)
			return err
		})
	}()
	return t
}

// blob sees to it that the cache has a blob.
func (w *Warming) blob(ctx context.Context, img Image, d pullchain.Descriptor) (Cached, error) {
	word, err := w.read(ctx, img, d)
	if err == nil && !word.There() && !w.Dry {
		err = w.Mirror.kept(ctx, img, d.Digest)
	}
	return word, err
}

// read reads a blob that the cache does not have, so that it does.
func (w *Warming) read(ctx context.Context, img Image, d pullchain.Descriptor) (Cached, error) {
	if !take(ctx, w.slots) {
		return "", ctx.Err()
	}
	defer func() { <-w.slots }()
	// To ask first costs a round trip and saves the body; for a small blob the body
	// is cheaper.
	if (d.Size > smallBlob || w.Dry) && w.Mirror.look(ctx, img, d.Digest).There() {
		w.Board.Skipped(d)
		return Hit, nil
	}
	if w.Dry {
		w.Board.Missing(img, d)
		return Stored, nil
	}
	bar := w.Board.Begin(img, d)
	began := time.Now()
	word, err := w.Mirror.blob(ctx, img, d.Digest, bar.Add)
	if foreign(d.MediaType) && isNotFound(err) {
		word, err = Hit, nil // it is kept elsewhere by design, and clients do not look for it here
	}
	bar.End(word, time.Since(began), err)
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

// silent is a Board that nothing reads.
type silent struct{}

// Expect is told of nothing that anything waits for; and so on below.
func (silent) Expect(pullchain.Descriptor) {}

// Skipped counts nothing.
func (silent) Skipped(pullchain.Descriptor) {}

// Missing tells nothing.
func (silent) Missing(Image, pullchain.Descriptor) {}

// Begin returns a Bar that shows nothing.
func (silent) Begin(Image, pullchain.Descriptor) Bar { return silent{} }

// Finished tells nothing.
func (silent) Finished(Result) {}

// Add counts nothing.
func (silent) Add(int) {}

// End shows nothing.
func (silent) End(Cached, time.Duration, error) {}
