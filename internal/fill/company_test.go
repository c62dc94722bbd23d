package fill

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// outruns are what a chain was told of company.
type outruns struct {
	mu  sync.Mutex
	all []string
}

func (o *outruns) told() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}

// withCompany has the rig's registry give company to what sends less than 64 KiB/s, from
// lane b, which answers as how says. Lane a answers at rate bytes/s.
func (r *fillRig) withCompany(rate int, how func() reply) *outruns {
	var o outruns
	r.reg.TooSlow = func(_ string, _ pullchain.Request, rate float64) (slow, crawls bool) {
		return rate < 64*kib, true
	}
	r.reg.Outrun = func(upstream string, _ pullchain.Request, faster bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.all = append(o.all, fmt.Sprint(upstream, " ", faster))
	}
	r.chain.answer = func(n int, req pullchain.Request) reply {
		switch {
		case req.Options.Speculative: // no help
			return reply{err: &pullchain.Error{Reason: pullchain.Limited}}
		case slices.Contains(req.Options.Avoid, "a") && !slices.Contains(req.Options.Avoid, "b"):
			b := how()
			b.lane = cmp.Or(b.lane, "b")
			return b
		}
		return reply{rate: rate}
	}
	return &o
}

// TestF53CompanyFinishes: a lane that trickles costs a second, whatever the size, and the
// other is asked for what is missing alone.
func TestF53CompanyFinishes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{8 * kib, 200 * kib, 10 * mib} {
		for _, rate := range []int{1, 10 * kib} {
			t.Run(fmt.Sprintf("%d bytes at %d a second", size, rate), func(t *testing.T) {
				fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
					o := r.withCompany(rate, func() reply { return reply{rate: 50 * mib} })
					began := time.Now()
					r.mustGet(whole)
					if took := time.Since(began); rate == 1 && took > 2*time.Second {
						t.Errorf("took %v", took)
					}
					r.settled(true)
					r.sentAtMost(int64(size) + 64*kib)
					asked := r.chain.requests()
					if rate == 1 && len(asked) != 2 {
						t.Errorf("asked %v", asked)
					}
					if size > 64*kib && !slices.Equal(o.told(), []string{"a true"}) {
						t.Errorf("told %q", o.told())
					}
				})
			})
		}
	}
}

// TestF53CompanyIsNoFaster: where our own line is the narrow place, the first goes on, and
// the other is left alone.
func TestF53CompanyIsNoFaster(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(300*kib, 1), func(t *testing.T, r *fillRig) {
		o := r.withCompany(20*kib, func() reply { return reply{rate: 10 * kib} })
		began := time.Now()
		r.mustGet(whole)
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("took %v, want the 15 s that it takes without company", took)
		}
		r.settled(true)
		if !slices.Contains(o.told(), "a false") || slices.Contains(o.told(), "a true") {
			t.Errorf("told %q", o.told())
		}
		asked := slices.DeleteFunc(r.chain.requests(), func(q pullchain.Request) bool { return q.Options.Speculative })
		if len(asked) > 3 { // the second time after a pause, as this chain says again that it is too slow
			t.Errorf("asked %v", asked)
		}
	})
}

// TestF53CompanyFails: company that fails, or lies, costs the first nothing.
func TestF53CompanyFails(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]reply{
		"refused":  {err: &pullchain.Error{Reason: pullchain.Unavailable}},
		"silent":   {wait: time.Hour},
		"no range": {ignores: true, rate: mib},
		"cut":      {rate: mib, cut: 70 * kib},
	} {
		t.Run(name, func(t *testing.T) {
			fillBubble(t, noise(300*kib, 1), func(t *testing.T, r *fillRig) {
				r.withCompany(30*kib, func() reply { return how })
				began := time.Now()
				r.mustGet(whole)
				if took := time.Since(began); took > 11*time.Second {
					t.Errorf("took %v, want the 10 s that it takes alone", took)
				}
				r.settled(true)
			})
		})
	}
}

// TestF53CompanyLies: wrong bytes of company are found out, and its alone.
func TestF53CompanyLies(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		r.withCompany(kib, func() reply { return reply{rate: 10 * mib, flip: []int64{mib}} })
		answer := r.chain.answer
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if len(req.Options.Avoid) > 1 || slices.Contains(req.Options.Avoid, "b") {
				return reply{lane: "c", rate: 10 * mib}
			}
			return answer(n, req)
		}
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && string(got) != string(r.chain.content) {
			t.Error("a complete wrong blob")
		}
		r.mustGet(whole)
		r.settled(true)
		if !slices.Contains(r.chain.blamed, "b") || slices.Contains(r.chain.blamed, "a") {
			t.Errorf("blamed %q", r.chain.blamed)
		}
	})
}

// TestF53NoCompanyWithoutAReader: what nobody waits for is worth no request.
func TestF53NoCompanyWithoutAReader(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.withCompany(kib, func() reply { return reply{} })
		ctx := t.Context()
		resp, err := r.fetch(ctx, whole)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		r.settled(false)
		if n := len(r.chain.requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestF53HeadersOfATricklingLane: an answer that waits for a small blob's bytes waits a
// while for them and no longer, where the size is sure.
func TestF53HeadersOfATricklingLane(t *testing.T) {
	t.Parallel()
	for _, sure := range []bool{true, false} {
		fillBubble(t, noise(8*kib, 1), func(t *testing.T, r *fillRig) {
			want := unsureAnswer
			if sure {
				r.size, want = 8*kib, sureAnswer
			}
			r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: 100} }
			began := time.Now()
			resp, err := r.fetch(t.Context(), whole)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("headers after %v, want %v", took, want)
			}
			if err := r.read(resp, whole); err != nil {
				t.Error(err)
			}
			resp.Body.Close()
			synctest.Wait()
			r.settled(true)
		})
	}
}

// TestF53AnotherConnection: the only upstream is asked once more, as a client would that
// hangs up and tries again. That is held against it by no one.
func TestF53AnotherConnection(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(100*kib, 1), func(t *testing.T, r *fillRig) {
		o := r.withCompany(1, func() reply { return reply{lane: "a", rate: mib} })
		began := time.Now()
		r.mustGet(whole)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		r.settled(true)
		if len(o.told()) > 0 {
			t.Errorf("told %q", o.told())
		}
	})
}

// TestF53CompanyCostsNothing: a lane that is slow, and does not crawl, gets company as it
// gets help: from what costs nothing, and nothing is held against that for failing.
func TestF53CompanyCostsNothing(t *testing.T) {
	t.Parallel()
	for _, crawls := range []bool{false, true} {
		fillBubble(t, noise(100*kib, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(n int, _ pullchain.Request) reply {
				if n > 0 {
					return reply{err: &pullchain.Error{Reason: pullchain.Limited}}
				}
				return reply{rate: 20 * kib}
			}
			r.reg.TooSlow = func(string, pullchain.Request, float64) (bool, bool) { return true, crawls }
			r.mustGet(whole)
			r.settled(true)
			if asked := r.chain.requests(); len(asked) != 2 || asked[1].Options.Speculative == crawls || !asked[1].Options.NoForce {
				t.Errorf("crawls %t: asked %v", crawls, asked)
			}
		})
	}
}
