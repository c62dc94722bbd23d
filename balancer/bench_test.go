package balancer_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// BenchmarkFetch prints what the balancer adds to a request whose upstream answers at
// once: the choice of a lane, the race, and what is learnt of the outcome.
func BenchmarkFetch(b *testing.B) {
	for name, req := range map[string]pullchain.Request{"tag": tag, "manifest": byDigest, "small blob": smallBlob, "blob": blob} {
		b.Run(name, func(b *testing.B) {
			r := newRig(serve, serve, serve)
			buf := make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				resp, err := r.Fetch(b.Context(), req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, buf); err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
	}
}

// A request does not pay for the record of states where nothing has happened to any.
func TestSpreadCostsAsMuchAsOrdered(t *testing.T) {
	allocs := map[balancer.Strategy]float64{}
	for _, strategy := range []balancer.Strategy{balancer.Ordered, balancer.Spread} {
		r := newRigFor(balancer.Config{Registry: "docker.io", Strategy: strategy}, serve, serve, serve, serve, serve)
		n := 0
		allocs[strategy] = testing.AllocsPerRun(500, func() {
			req := tag
			req.Tag = strings.Repeat("x", n%64+1)
			n++
			if _, err := r.Fetch(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		})
	}
	if more := allocs[balancer.Spread] - allocs[balancer.Ordered]; more > 4 {
		t.Errorf("%v allocations more", more)
	}
}

// While grace lasts every request makes it longer, and that alone changes no state.
func TestGraceCostsAsMuchAsHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve)
		fetch := func() {
			time.Sleep(time.Millisecond)
			r.mustGet(t, byDigest)
		}
		health := testing.AllocsPerRun(300, fetch)
		r.ups[0].become(fail(internal))
		for range 8 {
			r.get(t.Context(), byDigest)
		}
		time.Sleep(2 * time.Second) // after a forced try that has failed
		r.ups[0].become(serve)
		if more := testing.AllocsPerRun(300, fetch) - health; more > 4 {
			t.Errorf("%v allocations more", more)
		}
	})
}
