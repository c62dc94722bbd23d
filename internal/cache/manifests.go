package cache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"
	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/openfiles"
	"github.com/pullchain/pullchain/internal/wire"
)

// manifests are the manifests that are here: in the store, and those used lately in
// memory too. They are safe for concurrent use.
type manifests struct {
	store  *blobstore.Store
	life   *life
	log    *slog.Logger
	memory *otter.Cache[digest.Digest, *manifest] // the bytes of those used lately
	loads  group[digest.Digest, *manifest]        // from the store
	sizes  sizes

	putting      putQueue
	keepsNothing atomic.Bool // the last one could not be stored
}

// manifestBytes bounds what is kept in memory.
const manifestBytes = 64 << 20

// maxPutting is how many manifests are on their way to the disk at once: each costs a
// goroutine and a sync. The others wait in a queue, for no request waits for a disk,
// which may be busy for long with the layers of other pulls, or hang. Beyond maxQueued
// they are in memory only.
const (
	maxPutting = 32
	maxQueued  = 1024
)

// A putQueue is the manifests that are to be stored, and what stores them.
type putQueue struct {
	mu      sync.Mutex
	waiting []*manifest
	running int // goroutines
}

func newManifests(store *blobstore.Store, alive *life, log *slog.Logger) *manifests {
	m := &manifests{
		store: store, life: alive, log: log, sizes: newSizes(),
		memory: otter.Must(&otter.Options[digest.Digest, *manifest]{
			MaximumWeight: manifestBytes,
			Weigher:       func(_ digest.Digest, m *manifest) uint32 { return m.weight() },
		}),
	}
	m.loads.life = alive
	return m
}

// find returns the manifest d if it is here, from memory or the store. It counts as
// a use.
func (ms *manifests) find(ctx context.Context, d digest.Digest) *manifest {
	m, ok := ms.memory.GetIfPresent(d)
	if !ok {
		if _, here := ms.store.Stat(d); !here {
			return nil
		}
		// One at a time: a reader that comes late to a corrupt file must not
		// quarantine the right one that has been fetched meanwhile.
		m, _, _ = ms.loads.do(ctx, d, func(context.Context) (*manifest, error) { return ms.load(d), nil })
		return m
	}
	ms.touch(m)
	return m
}

// touchEvery bounds how often the store is told of uses that it does not see.
const touchEvery = time.Second

// touch counts a use of m, and notices once in touchEvery whether the sizes that m
// has told are forgotten.
func (ms *manifests) touch(m *manifest) {
	now, last := time.Now().UnixNano(), m.touched.Load()
	since := now - last // less than 0 where the clock has been set back
	if since >= 0 && since < int64(touchEvery) || !m.touched.CompareAndSwap(last, now) {
		return
	}
	ms.store.Touch(m.digest)
	if by := m.sizedFor.Load(); by != nil && !ms.sizes.have(*by, m.links) {
		m.sizedFor.CompareAndSwap(by, nil)
	}
}

// answer returns m as the answer to a repository, whose blobs have the sizes from now
// on that m says they have.
func (ms *manifests) answer(by fill.Repository, m *manifest, head bool) pullchain.Response {
	if last := m.sizedFor.Load(); !head && (last == nil || *last != by) {
		ms.sizes.learn(by, m.links)
		copied := by // so that by itself stays off the heap
		m.sizedFor.Store(&copied)
	}
	return m.response(head)
}

// load reads a manifest from the store into memory, or returns nil. Its bytes are
// hashed first; wrong ones are quarantined (docs/faults.md F34).
func (ms *manifests) load(d digest.Digest) *manifest {
	if m, ok := ms.memory.GetIfPresent(d); ok {
		return m
	}
	m, err := ms.read(d)
	switch {
	case errors.Is(err, blobstore.ErrNotFound):
		return nil
	case err != nil:
		ms.log.Warn("stored manifest is quarantined", "digest", d, "error", err)
		if err := ms.store.Quarantine(d, err); err != nil && !errors.Is(err, blobstore.ErrNotFound) {
			ms.log.Warn("corrupt manifest cannot be quarantined", "digest", d, "error", err)
		}
		return nil
	}
	ms.store.MarkVerified(d)
	ms.remember(m)
	return m
}

// remember keeps m, which was read from the store, in memory too. If it has been
// removed there meanwhile, it is gone here as well: [Cache.Evict] looks here after
// it has looked there.
func (ms *manifests) remember(m *manifest) {
	ms.memory.Set(m.digest, m)
	if _, here := ms.store.Stat(m.digest); !here {
		ms.memory.Invalidate(m.digest)
	}
}

// read returns the manifest d of the store, of a kind that is known here or not. Content
// that was not fetched as a manifest, and so has no type, is none: what is a config to
// one is no index to another.
func (ms *manifests) read(d digest.Digest) (*manifest, error) {
	info, ok := ms.store.Stat(d)
	if !ok || info.MediaType == "" || info.Size > wire.MaxManifest {
		return nil, blobstore.ErrNotFound
	}
	object, err := ms.store.Open(d)
	if err != nil {
		if !errors.Is(err, blobstore.ErrNotFound) {
			ms.log.Warn("stored manifest cannot be opened", "digest", d, "error", err)
		}
		return nil, blobstore.ErrNotFound
	}
	defer object.Close()
	body, err := io.ReadAll(io.LimitReader(object.File, wire.MaxManifest+1))
	if err != nil {
		return nil, err
	}
	return newManifest(d, object.Meta, body)
}

// keep puts m into memory at once and into the store in a moment: no request waits
// for the disk. It reports whether m is likely to be kept: whether the last one was.
func (ms *manifests) keep(m *manifest) bool {
	ms.memory.Set(m.digest, m)
	q := &ms.putting
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == maxQueued {
		return false
	}
	q.waiting = append(q.waiting, m)
	if q.running < maxPutting && ms.life.spawn(ms.putWaiting) {
		q.running++
	}
	return !ms.keepsNothing.Load()
}

// putWaiting stores the manifests that wait, one after the other, until none is left.
func (ms *manifests) putWaiting() {
	q := &ms.putting
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.running--
			q.mu.Unlock()
			return
		}
		m := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		err := ms.store.Put(ms.life.ctx, m.digest, m.body, m.meta)
		ms.keepsNothing.Store(err != nil)
		unkept(ms.log, "manifest is not kept", err, "digest", m.digest)
	}
}

// mend stores a manifest again that was wrong in the store, if it is in memory.
func (ms *manifests) mend(d digest.Digest) {
	if m, ok := ms.memory.GetIfPresent(d); ok {
		meta := m.meta
		meta.Pinned = false // the store remembers; this is of when it was read
		unkept(ms.log, "manifest is not kept", ms.store.Put(ms.life.ctx, d, m.body, meta), "digest", d)
	}
}

// meta returns what is known of content that is here, manifest or not.
func (ms *manifests) meta(d digest.Digest) blobstore.Meta {
	if info, here := ms.store.Stat(d); here {
		return info.Meta
	}
	if m, ok := ms.memory.GetIfPresent(d); ok {
		return m.meta
	}
	return blobstore.Meta{}
}

// amend changes what is kept about d, on the disk and of the copy in memory.
func (ms *manifests) amend(d digest.Digest, change func(*blobstore.Meta)) {
	err := ms.store.Update(d, change)
	if !errors.Is(err, blobstore.ErrNotFound) {
		unkept(ms.log, "access is not recorded", err, "digest", d)
	}
	ms.memory.ComputeIfPresent(d, func(m *manifest) (*manifest, otter.ComputeOp) {
		changed := *m
		change(&changed.meta)
		return &changed, otter.WriteOp
	})
}

// unkept logs why something could not be stored. What the store says of itself, in
// its Stats, is not repeated for every object, nor that there are no descriptors left.
func unkept(log *slog.Logger, message string, err error, args ...any) {
	switch {
	case err == nil:
	case errors.Is(err, blobstore.ErrFull), errors.Is(err, blobstore.ErrReadOnly), openfiles.Short(err):
		log.Debug(message, append(args, "error", err)...)
	default:
		log.Warn(message, append(args, "error", err)...)
	}
}
