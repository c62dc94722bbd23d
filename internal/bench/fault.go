//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// without is what a pull with a fault is compared with.
const without = "no fault"

// A pair is two mirrors of the same content, and pullchain in front of them.
type pair struct {
	net           *simnet.Net
	first, second *simnet.Mirror
	server        *server
}

// newPair starts one; it is probed, so that both connections are warm. The
// caller closes it.
func (b *bench) newPair(ctx context.Context, images []simnet.Image, stall time.Duration) (*pair, error) {
	p := &pair{net: simnet.New(simnet.Config{})}
	p.first = p.net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "first"}, Images: images})
	p.second = p.net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "second"}, Images: images})
	ca, err := b.writeCA(p.net)
	if err == nil {
		p.server, err = b.startServer(ctx, pullchain, setup{
			upstreams: []upstream{{"first", p.first.URL()}, {"second", p.second.URL()}}, ca: ca, stall: stall,
		})
	}
	// Until both are probed: the first request would pay for connections that a
	// daemon that has run for a minute has.
	for _, name := range []string{"first", "second"} {
		for err == nil && len(p.net.Ledger().Find(simnet.Filter{Server: name, Class: simnet.Ping})) == 0 {
			err = wait(ctx, 5*time.Millisecond)
		}
	}
	if err == nil {
		err = p.net.Ledger().WaitIdle(ctx)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pair) close() {
	if p.server != nil {
		p.server.stop()
	}
	p.net.Close()
}

// A failing is what is wrong with the first of two upstreams.
type failing struct {
	name        string
	begin       func(*simnet.Mirror)
	first, then goal // of the request that meets it, and of later ones
}

// failings are those of docs/architecture.md, "What it must reach".
func failings() []failing {
	soon := goal{of: added, limit: 5}
	refuse := func(f simnet.ConnFault) func(*simnet.Mirror) {
		return func(m *simnet.Mirror) { m.Break(f); m.CloseConnections() }
	}
	return []failing{
		{"answers 429", func(m *simnet.Mirror) { m.Inject(simnet.TooManyAfter(time.Hour, false)) }, soon, soon},
		{"refuses connections", refuse(simnet.ConnRefused), soon, soon},
		{"is a black hole", refuse(simnet.ConnBlackhole), goal{of: added, limit: 1500}, soon},
	}
}

const (
	tagsPerPair = 40
	warmTags    = 4 // until connections and code are warm
	laterFrom   = 8 // requests after the first until the fault counts as known
)

// failover is what a fault of the first of two upstreams adds to the time to the
// first byte of a cold manifest. Peers have no second upstream.
func (b *bench) failover() ([]row, error) {
	var images []simnet.Image
	for i := range tagsPerPair {
		images = append(images, simnet.Image{Repo: "bench/many", Tags: []string{fmt.Sprint(i)}, Labels: map[string]string{"n": fmt.Sprint(i)}})
	}
	var rows []row
	for _, f := range failings() {
		c := newContest(nil)
		for range b.opts.rounds {
			if err := b.failOnce(c, f, images); err != nil {
				return rows, fmt.Errorf("%s: %w", f.name, err)
			}
		}
		measure := "first byte, first upstream " + f.name
		rows = append(rows,
			c.against(measure, "first request", "ms", without, f.first),
			c.against(measure, "later ones", "ms", without, f.then))
	}
	rows[0].note = "peers have one upstream"
	return rows, nil
}

// failOnce measures in a world of its own: lanes remember.
func (b *bench) failOnce(c *contest, f failing, images []simnet.Image) error {
	p, err := b.newPair(b.ctx, images, 0)
	if err != nil {
		return err
	}
	defer p.close()
	firstByte := func(tag int) (float64, error) {
		got, err := get(b.ctx, p.server.http, fmt.Sprintf("%s/v2/bench/many/manifests/%d", p.server.target.url(), tag), "", false)
		return inMS(got.ttfb), err
	}
	half := tagsPerPair / 2
	var clean, later []float64
	for tag := range tagsPerPair {
		// Clean and faulty requests are of one run and one connection, so that what
		// is subtracted is the same.
		if tag == half {
			f.begin(p.first)
		}
		ms, err := firstByte(tag)
		switch {
		case err != nil:
			return err
		case tag < warmTags:
		case tag < half:
			clean = append(clean, ms)
		case tag == half:
			c.add("first request", pullchain, ms)
		case tag >= half+laterFrom:
			later = append(later, ms)
		}
	}
	c.add("later ones", pullchain, median(later))
	c.add("first request", without, median(clean))
	c.add("later ones", without, median(clean))
	return nil
}

// stallLimit is pullchain's in the measures of mid-blob faults; 10 s is the
// default.
const stallLimit = time.Second

// away is how far the mirrors are meanwhile.
const away = 20 * time.Millisecond

// midBlob is what the client sees of an upstream that fails in the middle of a
// blob: the longest time without a byte. The pull has to succeed. Bytes that are
// wrong may have left before the digest could tell; then the answer is cut
// before its end, and a client begins again, as engines do.
func (b *bench) midBlob() ([]row, error) {
	faults := []struct {
		name  string
		fault simnet.Fault
	}{
		{"dies", simnet.Fault{Cut: simnet.EndRST, CutFraction: 0.5}},
		{"stalls", simnet.Fault{Cut: simnet.EndStall, CutFraction: 0.5}},
		{"flips a bit", simnet.Fault{Flip: true, FlipAt: b.sizes.broken / 2}},
		{"flips a bit of the tail", simnet.Fault{Flip: true, FlipAt: b.sizes.broken - 1}},
	}
	limit := ownAtMost(inMS(stallLimit + away))
	var rows []row
	for _, f := range faults {
		f.fault.On, f.fault.Method = simnet.Blobs, http.MethodGet
		measure := "upstream " + f.name + " in mid-blob"
		c := newContest(nil)
		for range b.opts.rounds {
			err := b.breakOnce(c, f.fault)
			switch {
			case errors.Is(err, errWrongPull):
				c.missing[pullchain] = err.Error()
				b.progress("%s: %v", measure, err)
			case err != nil:
				return rows, fmt.Errorf("%s: %w", measure, err)
			}
		}
		r := c.against(measure, "longest gap", "ms", without, limit)
		r.note = fmt.Sprintf("%d of %d pulls right, requests a pull: %s; stall limit %s, %s away",
			len(c.samples["time"][pullchain]), b.opts.rounds, figure(median(c.samples["tries"][pullchain]), ""), stallLimit, away)
		rows = append(rows, r, c.against(measure, "time", "ms", without, goal{}))
	}
	return rows, nil
}

// errWrongPull says that a client did not get what it asked for.
var errWrongPull = errors.New("the pull failed")

// breakOnce pulls one layer without the fault and another one with it, in a world
// of its own: lanes remember.
func (b *bench) breakOnce(c *contest, fault simnet.Fault) error {
	image := simnet.Image{Repo: "bench/broken", Tags: []string{"1"}, Layers: []simnet.Layer{
		simnet.BigLayer(b.sizes.broken, 1), simnet.BigLayer(b.sizes.broken, 2),
	}}
	p, err := b.newPair(b.ctx, []simnet.Image{image}, stallLimit)
	if err != nil {
		return err
	}
	defer p.close()
	p.first.SetRTT(away)
	p.second.SetRTT(away)
	img := p.net.Build(image)
	for i, name := range []string{without, pullchain} {
		if name == pullchain {
			p.first.Inject(fault)
		}
		layer, _ := img.Layer(i)
		got, tries, err := p.persist(b.ctx, img, layer.Digest.String())
		if err != nil {
			return fmt.Errorf("%w: %w", errWrongPull, err)
		}
		c.add("tries", name, float64(tries))
		c.add("longest gap", name, inMS(got.gap))
		c.add("time", name, inMS(got.took))
	}
	return nil
}

// persist pulls a blob and begins again when the answer is cut or wrong, as
// dockerd does up to five times.
func (p *pair) persist(ctx context.Context, img *simnet.Content, digest string) (pull, int, error) {
	began := time.Now()
	var longest time.Duration
	for try := 1; ; try++ {
		asked := time.Now()
		got, err := get(ctx, p.server.http, p.server.target.url()+"/v2/"+img.Repo+"/blobs/"+digest, "", true)
		if try > 1 {
			got.gap = max(got.gap, got.ttfb)
		}
		if err == nil && got.digest != digest {
			err = fmt.Errorf("%s came as %s", digest, got.digest)
		}
		longest = max(longest, got.gap)
		if err == nil {
			got.took, got.gap = time.Since(began), longest
			return got, try, nil
		}
		if try == 5 || time.Since(asked) > time.Minute || ctx.Err() != nil {
			return got, try, err
		}
	}
}
