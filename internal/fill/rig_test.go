package fill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/snooze"
	"github.com/pullchain/pullchain/internal/wire"
)

// A chainFake is a balancer over one blob whose every answer is scripted. It
// speaks as a balancer does to FetchOptions.Unverified.
type chainFake struct {
	content []byte
	digest  digest.Digest

	// answer says how request n goes, the first being 0; nil: as a good lane's.
	answer func(n int, req pullchain.Request) reply

	pipe int // bytes/s that all bodies share; 0: no limit

	sent atomic.Int64 // bytes that were read from bodies
	open atomic.Int64 // bodies that are not closed

	mu     sync.Mutex
	asked  []pullchain.Request
	blamed []string
	bad    []int64   // offsets that were sent wrong
	free   time.Time // when the pipe is free again
}

// A reply is how one request goes. The zero reply is right and at once.
type reply struct {
	lane    string        // who answers; empty: "a"
	err     error         // instead of an answer
	wait    time.Duration // before the headers
	rate    int           // bytes/s; 0: as fast as they are read
	chunk   int           // what a read brings at most; 0: a sixteenth of a second's
	cut     int64         // the body dies at this offset of the blob; 0: it does not
	stall   int64         // it hangs for ten seconds there, and then dies; 0: it does not
	flip    []int64       // bytes of the blob that are wrong
	size    int64         // what it claims; 0: the truth
	unknown bool          // it does not tell the size
	ignores bool          // it ignores ranges
	empty   bool          // it has no bytes, and says so
	most    int64         // of a range it sends no more than this at once; 0: all
	private bool
	login   string // which, if private

	unproved bool // its upstream is not trusted with unproved bytes
}

func newChainFake(content []byte) *chainFake {
	return &chainFake{content: content, digest: digest.FromBytes(content)}
}

// noise returns n bytes that are the same in each run.
func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func (c *chainFake) registry(name string) *Registry {
	return &Registry{Name: name, Next: c, Blame: func(upstream string, _ pullchain.Request, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.blamed = append(c.blamed, upstream)
		if pullchain.CodeOf(err) != pullchain.CodeDigestMismatch {
			panic(fmt.Sprintf("blamed for %v", err))
		}
	}}
}

func (c *chainFake) requests() []pullchain.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// choose returns the answer of the lane that a balancer would take: one that names
// another size than the manifest is passed over.
func (c *chainFake) choose(n int, req pullchain.Request) reply {
	for {
		var how reply
		if c.answer != nil {
			how = c.answer(n, req)
		}
		if how.lane == "" {
			how.lane = "a"
		}
		if how.size == 0 || req.Size == 0 || how.size == req.Size {
			return how
		}
		req.Options.Avoid = append(slices.Clone(req.Options.Avoid), how.lane)
	}
}

// Fetch answers as scripted.
func (c *chainFake) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	c.mu.Lock()
	n := len(c.asked)
	c.asked = append(c.asked, req)
	c.mu.Unlock()
	how := c.choose(n, req)
	if !snooze.For(ctx, how.wait) {
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Canceled, Err: ctx.Err()}
	}
	if how.err != nil {
		return pullchain.Response{}, how.err
	}
	return c.respond(ctx, req, how)
}

func (c *chainFake) respond(ctx context.Context, req pullchain.Request, how reply) (pullchain.Response, error) {
	size := int64(len(c.content))
	resp := pullchain.Response{
		Status: 200, Digest: req.Digest, Size: size, Private: how.private, Login: how.login, Unproved: how.unproved,
		Attempts: []pullchain.Attempt{{Upstream: how.lane, Start: time.Now()}},
	}
	b := &bodyFake{c: c, ctx: ctx, how: how, end: size}
	if how.empty {
		resp.Size, b.end = 0, 0
	}
	if how.size != 0 {
		resp.Size, b.end = how.size, min(how.size, size)
		b.short = how.size > size && !req.Options.Unverified
	}
	if !req.Range.Whole() && !how.ignores {
		abs, ok := wire.ResolveRange(req.Range, resp.Size)
		if !ok {
			return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Upstream: how.lane, Status: 416, Size: resp.Size}
		}
		if how.most > 0 {
			abs.To = min(abs.To, abs.From+how.most)
		}
		resp.Status, resp.Range = 206, abs
		b.pos, b.end = abs.From, min(abs.To, b.end)
		b.short = b.end < abs.To && !req.Options.Unverified
	} else if how.ignores && !req.Range.Whole() && !req.Options.Unverified {
		return c.respond(ctx, req, reply{lane: how.lane, rate: how.rate}) // a balancer cuts it out
	}
	if how.unknown {
		resp.Size = -1
	}
	c.open.Add(1)
	resp.Body = b
	return resp, nil
}

// A bodyFake sends a part of the content, with the faults of its reply.
type bodyFake struct {
	c        *chainFake
	ctx      context.Context
	how      reply
	pos, end int64
	short    bool // less than was said: a balancer that verifies does not let that pass
	closed   bool
}

func (b *bodyFake) Source() pullchain.Source {
	return pullchain.Source{Upstream: b.how.lane, Private: b.how.private, Login: b.how.login, Unproved: b.how.unproved}
}

func (b *bodyFake) Sections() pullchain.Sections { return nil }

func (b *bodyFake) Attempts() []pullchain.Attempt {
	return []pullchain.Attempt{{Upstream: b.how.lane}}
}

func (b *bodyFake) Read(p []byte) (int, error) {
	if b.closed {
		panic("read after close")
	}
	if b.ctx.Err() != nil {
		return 0, &pullchain.Error{Reason: pullchain.Canceled, Err: b.ctx.Err()}
	}
	if b.pos >= b.end {
		if b.short {
			return 0, b.fault()
		}
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.end-b.pos)]
	for _, fault := range []int64{b.how.cut, b.how.stall} {
		if fault > 0 && b.pos <= fault {
			p = p[:min(int64(len(p)), fault-b.pos)]
		}
	}
	if len(p) == 0 {
		return 0, b.fault()
	}
	if wait := b.c.queue(&p); !snooze.For(b.ctx, wait) {
		return 0, &pullchain.Error{Reason: pullchain.Canceled, Err: b.ctx.Err()}
	}
	if b.how.rate > 0 {
		chunk := b.how.chunk
		if chunk == 0 {
			chunk = max(b.how.rate/16, 1)
		}
		p = p[:min(len(p), chunk)]
		if !snooze.For(b.ctx, time.Second*time.Duration(len(p))/time.Duration(b.how.rate)) {
			return 0, &pullchain.Error{Reason: pullchain.Canceled, Err: b.ctx.Err()}
		}
	}
	n := copy(p, b.c.content[b.pos:])
	for _, at := range b.how.flip {
		if at >= b.pos && at < b.pos+int64(n) {
			p[at-b.pos] ^= 0xff
			b.c.mu.Lock()
			b.c.bad = append(b.c.bad, at)
			b.c.mu.Unlock()
		}
	}
	b.pos += int64(n)
	b.c.sent.Add(int64(n))
	return n, nil
}

// queue takes a turn in the pipe, and returns how long that takes.
func (c *chainFake) queue(p *[]byte) time.Duration {
	if c.pipe == 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	*p = (*p)[:min(len(*p), c.pipe/64)]
	now := time.Now()
	if c.free.Before(now) {
		c.free = now
	}
	c.free = c.free.Add(time.Second * time.Duration(len(*p)) / time.Duration(c.pipe))
	return c.free.Sub(now)
}

func (b *bodyFake) fault() error {
	if b.pos == b.how.stall && b.how.stall > 0 {
		snooze.For(b.ctx, 10*time.Second)
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeStall, Upstream: b.how.lane}
	}
	return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Upstream: b.how.lane}
}

func (b *bodyFake) Close() error {
	if !b.closed {
		b.closed = true
		b.c.open.Add(-1)
	}
	return nil
}

// A fillRig is the fills over a real store, in fake time.
type fillRig struct {
	t     *testing.T
	dir   string
	store *blobstore.Store
	fills *Fills
	chain *chainFake
	reg   *Registry
	size  int64 // of the blob, as the manifest has it; 0: no manifest has told
}

// fillBubble runs a test over content in a bubble of fake time.
func fillBubble(t *testing.T, content []byte, test func(t *testing.T, r *fillRig)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newChainFake(content)
		r := &fillRig{t: t, dir: dir, chain: c, reg: c.registry("docker.io")}
		r.start()
		test(t, r)
		r.stop()
		if n := c.open.Load(); n != 0 {
			t.Errorf("%d bodies were left open", n)
		}
	})
}

func (r *fillRig) start() {
	store, err := blobstore.Open(blobstore.Config{Dir: r.dir, MaxSize: 1 << 30})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store, r.fills = store, New(Config{Store: store})
}

func (r *fillRig) stop() {
	r.fills.Close()
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

// restart is the end of one process and the start of the next.
func (r *fillRig) restart() {
	r.stop()
	r.start()
}

func (r *fillRig) request(repo string, rng pullchain.Range) pullchain.Request {
	return pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: repo, Digest: r.chain.digest, Range: rng, Size: r.size}
}

// fetch asks for a range for the usual repository.
func (r *fillRig) fetch(ctx context.Context, rng pullchain.Range) (pullchain.Response, error) {
	return r.fills.Fetch(ctx, r.reg, r.request("library/app", rng), func(bool) error { return nil })
}

// get reads a range and checks it.
func (r *fillRig) get(rng pullchain.Range) error {
	resp, err := r.fetch(r.t.Context(), rng)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return r.read(resp, rng)
}

// read reads a body to the end and checks its bytes.
func (r *fillRig) read(resp pullchain.Response, rng pullchain.Range) error {
	abs, _ := wire.ResolveRange(rng, int64(len(r.chain.content)))
	want := r.chain.content[abs.From:abs.To]
	buf := make([]byte, 64*kib)
	for at := 0; ; {
		n, err := resp.Body.Read(buf)
		if at+n > len(want) || !bytes.Equal(buf[:n], want[at:at+n]) {
			return fmt.Errorf("%w in [%d, %d) of [%d, %d)", errWrongBytes, at, at+n, abs.From, abs.To)
		}
		at += n
		switch {
		case err == io.EOF && at < len(want):
			return fmt.Errorf("%w: only %d of [%d, %d)", errWrongBytes, at, abs.From, abs.To)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

var errWrongBytes = errors.New("wrong bytes")

func (r *fillRig) mustGet(rng pullchain.Range) {
	r.t.Helper()
	if err := r.get(rng); err != nil {
		r.t.Fatalf("%v: %v", rng, err)
	}
}

// settled waits until nothing goes on any more, and checks that the blob is
// stored or not.
func (r *fillRig) settled(stored bool) {
	r.t.Helper()
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	if n := r.fills.Snapshot().Active; n != 0 {
		r.t.Errorf("%d fills are left", n)
	}
	info, ok := r.store.Stat(r.chain.digest)
	if ok != stored {
		r.t.Errorf("stored = %t, want %t", ok, stored)
	}
	if ok && !info.Verified {
		r.t.Error("stored without being verified")
	}
}

// sentAtMost checks how many bytes the upstreams had to send.
func (r *fillRig) sentAtMost(n int64) {
	r.t.Helper()
	if got := r.chain.sent.Load(); got > n {
		r.t.Errorf("%d bytes from upstreams, want %d at most (the blob has %d)", got, n, len(r.chain.content))
	}
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

func extent(from, to int64) blobstore.Extent {
	return blobstore.Extent{From: from, To: to, Source: "old -"}
}
