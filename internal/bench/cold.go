//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

// everyone is what a cold pull is compared with.
var everyone = []string{direct, nginx, distribution}

// directClient asks the registry itself and follows its redirect to the CDN.
func (st *stage) directClient() *http.Client {
	return newClient(&tls.Config{RootCAs: st.net.CertPool()})
}

// coldTurns measures how long one cold blob takes, for each server and for a
// client that asks the registry itself, which begins without a connection. Each
// round has another blob.
func (b *bench) coldTurns(c *contest, st *stage, img *simnet.Content, measure string) error {
	// Connections are closed after each pull: what is measured begins without one,
	// as a pull after a while does.
	one := func(name, base string, client *http.Client, round int) error {
		defer client.CloseIdleConnections()
		layer, _ := img.Layer(round)
		asked := simnet.Filter{Class: simnet.Blobs, Ref: layer.Digest.String()}
		before := st.net.Ledger().Bytes(asked)
		p, err := get(b.ctx, client, base+img.BlobPath(layer.Digest), "", false)
		if err != nil {
			return err
		}
		c.add("time", name, inMS(p.took))
		c.add("first byte", name, inMS(p.ttfb))
		// Until the registry is idle: what a server goes on fetching behind its
		// client is part of what the pull costs.
		err = st.idle(b.ctx)
		c.add("upstream", name, float64(st.net.Ledger().Bytes(asked)-before)/mib)
		return err
	}
	all := sides(st.servers, func(round int, s *server) error {
		defer b.record(s, measure)()
		return one(s.name, s.target.url(), s.http, round)
	})
	all = append(all, side{direct, func(round int) error { return one(direct, st.hub.URL(), st.directClient(), round) }})
	return b.takeTurns(c, b.opts.rounds, all)
}

// coldRest are the rows of coldTurns besides the time. Bytes are counted when the
// registry has written them: those still on their way when a client hangs up, too.
func (c *contest) coldRest(measure string) []row {
	rows := c.rows(measure, "first byte", "ms", everyone, nil)
	return append(rows, c.rows(measure, "upstream", "MiB", everyone, goals{direct: ratioAtMost(1.05)})...)
}

// coldBlob is a pull of what only the registry has, over loopback: the worst
// case, for the network costs nothing and all share the same cores.
func (b *bench) coldBlob() ([]row, error) {
	st, err := b.stage(false)
	if err != nil {
		return nil, err
	}
	const measure = "cold blob"
	c := newContest(st.absent)
	err = b.coldTurns(c, st, st.push(b.opts.rounds, b.sizes.cold), measure)
	rows := c.rows(measure, "time", "ms", everyone, goals{direct: ratioAtMost(1.05)})
	rows[0].note = "loopback without a limit: registry, server and client share the cores"
	return append(rows, c.coldRest(measure)...), err
}

// distantBlob is the same with the network as the narrow place: all connections
// together get 100 MB/s, and a round trip takes 60 ms.
func (b *bench) distantBlob() ([]row, error) {
	st, err := b.stage(false)
	if err != nil {
		return nil, err
	}
	const measure = "cold blob, 100 MB/s and 60 ms away"
	img := st.push(b.opts.rounds, b.sizes.cold)
	narrow := &link{bytesPerSec: 100e6}
	defer st.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, Method: http.MethodGet, Respond: narrow.serve(img.Blobs)})()
	st.move(60 * time.Millisecond)
	defer st.move(0)
	c := newContest(st.absent)
	err = b.coldTurns(c, st, img, measure)
	rows := c.rows(measure, "time", "ms", everyone, goals{direct: ratioAtMost(1.05)})
	return append(rows, c.coldRest(measure)...), err
}

// move puts the registry and its CDN a round trip away.
func (st *stage) move(rtt time.Duration) {
	st.hub.SetRTT(rtt)
	st.hub.CDN.SetRTT(rtt)
}

// A link is a line that several connections share. Its zero value carries
// nothing.
type link struct {
	bytesPerSec int64

	mu   sync.Mutex
	next time.Time // when it is free again
}

// linkBurst is what a line makes up for after it had nothing to do, or after a
// timer that came late.
const linkBurst = 20 * time.Millisecond

// take waits until the line has carried n bytes.
func (l *link) take(ctx context.Context, n int) error {
	l.mu.Lock()
	// An idle line saves up no more than a burst, or the first bytes after a pause
	// would come faster than any line could bring them.
	if earliest := time.Now().Add(-linkBurst); l.next.Before(earliest) {
		l.next = earliest
	}
	l.next = l.next.Add(time.Duration(int64(n) * int64(time.Second) / l.bytesPerSec))
	d := time.Until(l.next)
	l.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	return wait(ctx, d)
}

// serve answers for a CDN with these blobs, through the line.
func (l *link) serve(blobs map[digest.Digest][]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, part := range strings.Split(r.URL.Path, "/") {
			if blob, ok := blobs[digest.Digest(part)]; ok {
				w.Header().Set("Content-Type", "application/octet-stream")
				http.ServeContent(&narrowWriter{w, r.Context(), l}, r, "", time.Time{}, bytes.NewReader(blob))
				return
			}
		}
		http.NotFound(w, r)
	})
}

// A narrowWriter sends over a link that it shares.
type narrowWriter struct {
	http.ResponseWriter
	ctx  context.Context
	link *link
}

// Write waits for its turn on the line.
func (w *narrowWriter) Write(p []byte) (int, error) {
	if err := w.link.take(w.ctx, len(p)); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

// throttledBlob is a blob of a CDN that gives each connection 256 KiB/s. All
// wait for it at the same time: none needs the processor.
func (b *bench) throttledBlob() ([]row, error) {
	st, err := b.stage(false)
	if err != nil {
		return nil, err
	}
	const measure = "CDN of 256 KiB/s a connection"
	img := st.push(1, b.sizes.throttled)
	layer, _ := img.Layer(0)
	defer st.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 256 * kib})()
	c := newContest(st.absent)
	var mu sync.Mutex
	var all sync.WaitGroup
	pull := func(name, base string, client *http.Client) {
		defer client.CloseIdleConnections()
		p, err := get(b.ctx, client, base+img.BlobPath(layer.Digest), "", true)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			c.missing[name] = err.Error()
		case p.digest != layer.Digest.String():
			c.missing[name] = name + " delivered something else"
		default:
			c.add("time", name, p.took.Seconds())
		}
	}
	for _, s := range st.servers {
		all.Go(func() { pull(s.name, s.target.url(), s.http) })
	}
	all.Go(func() { pull(direct, st.hub.URL(), st.directClient()) })
	all.Wait()
	rows := c.rows(measure, "time", "s", everyone, goals{direct: ratioAtMost(1.0 / 6)})
	rows[0].note = "one connection"
	return rows, st.idle(b.ctx)
}
