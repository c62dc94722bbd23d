package daemon_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

var (
	chaosRuns = flag.Int("chaos", 6, "how many random worlds TestCache_AnyFaults pulls through")
	chaosSeed = flag.Uint64("chaosseed", 1, "of the first of them")
)

// harmless are faults that no client may notice as long as another path is right.
var harmless = []simnet.Fault{
	{Cut: simnet.EndFIN, CutFraction: 0.4},
	{Cut: simnet.EndRST, CutFraction: 0.7},
	{Cut: simnet.EndClean, NoLength: true, CutFraction: 0.9},
	{Cut: simnet.EndStall, CutFraction: 0.2},
	{Drop: simnet.EndFIN},
	{IgnoreRange: true},
	{RangeShift: -512},
	{TotalShift: 7},
	{LengthShift: 1000},
	{LengthShift: -1000},
	{NoLength: true},
	{Gzip: true},
	{Status: http.StatusBadGateway},
	{Status: http.StatusNotFound},
	{Status: http.StatusTooManyRequests},
	{BytesPerSec: 2 << 20},
	{FirstByteWait: 200 * time.Millisecond},
}

// spoil gives a path up to three faults, and returns what they are. Flips are
// only among them if lies is true.
func spoil(rng *rand.Rand, s *simnet.Server, lies bool) string {
	var names strings.Builder
	for range rng.IntN(4) {
		f := harmless[rng.IntN(len(harmless))]
		if lies && rng.IntN(2) == 0 {
			f = simnet.Fault{Flip: true, FlipAt: rng.Int64N(3 << 20)}
		}
		f.On, f.Times, f.Skip = simnet.Blobs, 1+rng.IntN(3), rng.IntN(3)
		s.Inject(f)
		fmt.Fprintf(&names, "%s: %+v\n", s.Name(), f)
	}
	return names.String()
}

// Whatever goes wrong on two paths, with a third in order: no client ever gets a
// whole that is wrong, nothing wrong is kept, and unless an upstream lied none
// notices anything.
func TestCache_AnyFaults(t *testing.T) {
	t.Parallel()
	for i := range *chaosRuns {
		seed := *chaosSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			pullThrough(t, rand.New(rand.NewPCG(seed, 20)))
		})
	}
}

func pullThrough(t *testing.T, rng *rand.Rand) {
	k := newKeptOf(t, large, func(cfg *rigConfig) {
		c := cfg.Net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "c"}, Images: []simnet.Image{large}})
		cfg.Chain = append(cfg.Chain, lane{Name: "c", URL: c.URL(), Keys: unaided})
		for i := range cfg.Chain {
			cfg.Chain[i].Tables = "[registry.upstream.timeouts]\nstall = \"3s\""
		}
	})
	lies := rng.IntN(2) == 0
	world := spoil(rng, k.a.Server, lies) + spoil(rng, k.b.Server, lies)
	path, content := k.layer()
	var wg sync.WaitGroup
	for range 12 {
		h, pause := anyHerder(rng, int64(len(content))), time.Duration(rng.IntN(300))*time.Millisecond
		wg.Go(func() {
			time.Sleep(pause) // clients come when they like
			err := h.run(k, path, content)
			if wrong := errors.Is(err, errWrongBytes); err != nil && !lies || wrong && h.header == "" && errors.Is(err, io.EOF) {
				t.Errorf("%+v: %v", h, err)
			}
		})
	}
	wg.Wait()
	k.a.Clear()
	k.b.Clear()
	k.eventually("it can be had", k.pullUnlessBroken)
	k.layerStored()
	k.wantHit()
	if t.Failed() {
		t.Logf("the world:\n%s", world)
	}
}

// anyHerder is a client that wants all, or a part, and may leave midway.
func anyHerder(rng *rand.Rand, size int64) herder {
	h := herder{to: size}
	if rng.IntN(3) == 0 {
		h.from = rng.Int64N(size)
		h.to = h.from + 1 + rng.Int64N(size-h.from)
		h.header = fmt.Sprintf("bytes=%d-%d", h.from, h.to-1)
	}
	if rng.IntN(4) == 0 {
		h.leaves = 1 + rng.Int64N(h.to-h.from)
	}
	return h
}

// errWrongBytes is that a client got other bytes than the blob's. If it is joined
// with io.EOF, it took them for complete.
var errWrongBytes = errors.New("wrong bytes")

// check reads what is left of a body whose client has seen wrong bytes.
func check(body io.Reader, at int64, err error) error {
	wrong := fmt.Errorf("%w before %d", errWrongBytes, at)
	if err == nil {
		_, err = io.Copy(io.Discard, body)
		if err == nil {
			err = io.EOF
		}
	}
	return errors.Join(wrong, err)
}
