//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// crowdSize is a cluster that starts the same image everywhere at once.
const crowdSize = 200

// pullMany pulls each path by a client of its own, all at once.
func (s *server) pullMany(ctx context.Context, paths []string) (time.Duration, error) {
	var clients sync.WaitGroup
	errs := make([]error, len(paths))
	began := time.Now()
	for i, path := range paths {
		clients.Go(func() { _, errs[i] = pullAway(ctx, s.target, path, func(int) {}) })
	}
	clients.Wait()
	took := time.Since(began)
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
		}
	}
	if failed > 0 {
		return took, fmt.Errorf("%d of %d pulls failed: %w", failed, len(paths), errors.Join(errs...))
	}
	return took, nil
}

// withPeak does f and returns the most memory that s had meanwhile, in MiB.
func (s *server) withPeak(f func() error) (float64, error) {
	// The kernel keeps the peak over a process's whole life: without this the first
	// measure would be that of all later ones.
	if err := forgetPeaks(s.proc.pid()); err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	n, err := treeMemory(s.proc.pid(), "VmHWM")
	return float64(n) / mib, err
}

// repeated is n times the same path.
func repeated(path string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = path
	}
	return all
}

// crowd is what 200 clients that want the same cold blob cost the registry.
func (b *bench) crowd() ([]row, error) {
	st, err := b.stage(false)
	if err != nil {
		return nil, err
	}
	const measure = "200 clients, one cold blob"
	rounds := min(b.opts.rounds, 3)
	img := st.push(rounds, b.sizes.crowd)
	c := newContest(st.absent)
	err = b.takeTurns(c, rounds, sides(st.servers, func(round int, s *server) error {
		layer, _ := img.Layer(round)
		asked := simnet.Filter{Class: simnet.Blobs, Ref: layer.Digest.String()}
		before := st.net.Ledger().Bytes(asked)
		var took time.Duration
		peak, err := s.withPeak(func() (err error) {
			took, err = s.pullMany(b.ctx, repeated(img.BlobPath(layer.Digest), crowdSize))
			return err
		})
		if err != nil {
			return err
		}
		// A server that had given up on the blob would look cheap: it has to have
		// it in the end.
		if err := errors.Join(st.idle(b.ctx), checkBlob(b.ctx, s, img, layer.Digest.String())); err != nil {
			return err
		}
		c.add("upstream", s.name, float64(st.net.Ledger().Bytes(asked)-before)/mib)
		c.add("time", s.name, inMS(took))
		c.add("peak memory", s.name, peak)
		return nil
	}))
	for range rounds {
		c.add("upstream", "one client", float64(b.sizes.crowd)/mib)
	}
	rows := c.rows(measure, "upstream", "MiB", append([]string{"one client"}, peers...), goals{"one client": ratioAtMost(1)})
	rows = append(rows, c.rows(measure, "time", "ms", peers, nil)...)
	return append(rows, c.rows(measure, "peak memory", "MiB", peers, goals{nginx: ownAtMost(120)})...), err
}

// streams is the memory of a server with 200 clients that pull a warm blob.
func (b *bench) streams(secure bool) ([]row, error) {
	st, err := b.stage(secure)
	if err != nil {
		return nil, err
	}
	measure := fmt.Sprintf("200 streams of %d MiB, %s", b.sizes.stream/mib, transport(secure))
	c := newContest(st.absent)
	err = b.takeTurns(c, min(b.opts.rounds, 2), sides(st.servers, func(_ int, s *server) error {
		var took time.Duration
		peak, err := s.withPeak(func() (err error) {
			took, err = s.pullMany(b.ctx, repeated(st.blob(1), crowdSize))
			return err
		})
		c.add("peak memory", s.name, peak)
		c.add("time", s.name, took.Seconds())
		return err
	}))
	rows := c.rows(measure, "peak memory", "MiB", peers, goals{nginx: ownAtMost(120)})
	return append(rows, c.rows(measure, "time", "s", peers, nil)...), err
}

// manyFills is the memory of a server that fetches 200 blobs at once, each
// slowly.
func (b *bench) manyFills() ([]row, error) {
	st, err := b.stage(false)
	if err != nil {
		return nil, err
	}
	measure := fmt.Sprintf("200 cold blobs of %s at once", figure(float64(b.sizes.many)/mib, "MiB"))
	img := st.push(crowdSize, b.sizes.many)
	// So slow that all fills are under way at once: that is the memory to be
	// measured.
	pace := max(b.sizes.many/4, 128*kib)
	defer st.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: pace})()
	var paths []string
	for _, l := range img.LayerList[0] {
		paths = append(paths, img.BlobPath(l.Digest))
	}
	c := newContest(st.absent)
	err = b.takeTurns(c, 1, sides(st.servers, func(_ int, s *server) error {
		var took time.Duration
		peak, err := s.withPeak(func() (err error) {
			took, err = s.pullMany(b.ctx, paths)
			return err
		})
		c.add("peak memory", s.name, peak)
		c.add("time", s.name, took.Seconds())
		return errors.Join(err, st.idle(b.ctx))
	}))
	rows := c.rows(measure, "peak memory", "MiB", peers, goals{nginx: ownAtMost(120)})
	times := c.rows(measure, "time", "s", peers, nil)
	times[0].note = fmt.Sprintf("a connection gives %s/s: %s at least", figure(float64(pace)/kib, "KiB"), figure(float64(b.sizes.many)/float64(pace), "s"))
	return append(rows, times...), err
}
