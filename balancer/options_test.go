package balancer_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// on returns req on other terms.
func on(terms pullchain.FetchOptions, req pullchain.Request) pullchain.Request {
	req.Options = terms
	return req
}

var (
	unverified  = pullchain.FetchOptions{Unverified: true}
	speculative = pullchain.FetchOptions{Unverified: true, Speculative: true}
)

// mustFetch fails the test unless req is answered.
func (r *rig) mustFetch(t *testing.T, req pullchain.Request) pullchain.Response {
	t.Helper()
	resp, err := r.Fetch(t.Context(), req)
	if err != nil {
		t.Fatalf("%s: %v", req.Image(), err)
	}
	return resp
}

// mustRead reads the body to its end and closes it.
func mustRead(t *testing.T, resp pullchain.Response) []byte {
	t.Helper()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(got), err)
	}
	resp.Body.Close()
	return got
}

// A caller that verifies the bytes itself gets them as they come, says what it found,
// and is served by another lane the next time.
func TestUnverifiedBytesAreTheCallersToJudge(t *testing.T) {
	t.Parallel()
	for _, req := range []pullchain.Request{smallBlob, blob} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(corrupt, serve)
			req = on(unverified, req)
			resp := r.mustFetch(t, req)
			if source := resp.Body.Source(); source.Upstream != "a" {
				t.Errorf("%T tells of the source %+v", resp.Body, source)
			}
			got := mustRead(t, resp)
			if want := bytesOf(req); len(got) != len(want) || bytes.Equal(got, want) {
				t.Fatalf("%d bytes, want the %d wrong ones", len(got), len(want))
			}
			if s := r.state(0).State; s != balancer.StateServing {
				t.Errorf("before any complaint the lane is %q", s)
			}
			r.Blame("none", req, &pullchain.Error{Reason: pullchain.Corrupt})
			r.Blame("a", req, nil)
			if s := r.state(0).State; s != balancer.StateServing {
				t.Errorf("blaming no lane, or for nothing, made the lane %q", s)
			}
			r.Blame("a", req, &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch})
			s := r.state(0)
			if s.State != balancer.StateServing || s.LastError == nil || s.LastError.Code != pullchain.CodeDigestMismatch {
				t.Errorf("the lane that is to blame is %+v", s)
			}
			if c := s.Classes[pullchain.ClassBlob]; c.Requests != 1 || c.Failures != 1 || c.Outcomes[pullchain.CodeDigestMismatch] != 1 {
				t.Errorf("counted %+v", c)
			}
			req.Options.Avoid = []string{"a"}
			if got := mustRead(t, r.mustFetch(t, req)); !bytes.Equal(got, bytesOf(req)) {
				t.Errorf("%d bytes, or wrong ones", len(got))
			}
			want := []balancer.Failover{{At: time.Now(), Registry: "docker.io", From: "a", To: "b", Phase: "blob_start", Code: pullchain.CodeDigestMismatch, Image: req.Image()}}
			if diff := cmp.Diff(want, r.Snapshot().Failovers); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheBodyKnowsWhoSends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(cutAt(400_000), cutAt(300_000), serve)
		resp := r.mustFetch(t, on(unverified, blob))
		defer resp.Body.Close()
		from := map[string]int{}
		var got []byte
		for buf := make([]byte, 32<<10); ; {
			n, err := resp.Body.Read(buf)
			got = append(got, buf[:n]...)
			from[resp.Body.Source().Upstream] += n
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, content) {
			t.Errorf("%d bytes, or wrong ones", len(got))
		}
		if diff := cmp.Diff(map[string]int{"a": 400_000, "b": 300_000, "c": len(content) - 700_000}, from); diff != "" {
			t.Error(diff)
		}
		if n := len(resp.Body.Attempts()); n != 5 { // three answers and two cuts
			t.Errorf("%d attempts: %+v", n, resp.Body.Attempts())
		}
	})
}

// unsized answers without saying how much there is.
func unsized(then fetchFunc) fetchFunc {
	return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := then(ctx, req)
		resp.Size = -1
		return resp, err
	}
}

// A lane that ignores the range sends what a cache can use as well. It is not
// asked for a range again while others are there; in mid-body nothing but the
// next byte will do.
func TestAnIgnoredRangeIsPassedOn(t *testing.T) {
	t.Parallel()
	part := on(unverified, ranged(500_000, 600_000))
	for name, first := range map[string]fetchFunc{"sized": ignoresRange, "unsized": unsized(ignoresRange)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(first, serve)
				resp := r.mustFetch(t, part)
				if resp.Status != 200 || !resp.Range.Whole() {
					t.Errorf("status %d, range %v", resp.Status, resp.Range)
				}
				if got := mustRead(t, resp); !bytes.Equal(got, content) {
					t.Errorf("%d bytes, want all %d", len(got), len(content))
				}
				s := r.state(0)
				if b := s.Breakers[pullchain.ClassBlob]; !s.IgnoresRange || b.Excluded != 0 {
					t.Errorf("it ignores ranges: %v; breaker %+v", s.IgnoresRange, b)
				}
				if resp = r.mustFetch(t, part); resp.Status != 206 || !bytes.Equal(mustRead(t, resp), content[500_000:600_000]) {
					t.Errorf("from the second lane: status %d", resp.Status)
				}
			})
		})
	}
	t.Run("and cut", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			cut := func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
				req.Range = pullchain.Range{}
				return answer(req, content[:400_000], io.ErrUnexpectedEOF)
			}
			r := newRig(cut, ignoresRange)
			if resp := r.mustFetch(t, part); resp.Status != 200 || !bytes.Equal(mustRead(t, resp), content) {
				t.Errorf("status %d, or wrong bytes", resp.Status)
			}
			if got := r.ups[1].asked[0].Range; got.From != 400_000 || got.To != 0 {
				t.Errorf("the second lane was asked for %v", got)
			}
		})
	})
}

func TestAReadAfterTheUnverifiedEnd(t *testing.T) {
	t.Parallel()
	r := newRig(unsized(serve))
	resp := r.mustFetch(t, on(unverified, blob))
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(len(content)) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if n, err := resp.Body.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

// What is closed early, because others have the rest, is no lane's fault, and yet
// tells how fast the lane is.
func TestAnEarlyCloseIsNoFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(at(256 << 10))
		for range 20 {
			resp := r.mustFetch(t, on(unverified, blob))
			if _, err := io.CopyN(io.Discard, resp.Body, 512<<10); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		s := r.state(0)
		if s.State != balancer.StateServing || s.InFlight != 0 || s.Throughput == 0 {
			t.Errorf("%q with %d in flight and %d bytes/s", s.State, s.InFlight, s.Throughput)
		}
		if b, c := s.Breakers[pullchain.ClassBlob], s.Classes[pullchain.ClassBlob]; b.Failures != 0 || c.Requests != 20 || c.Failures != 0 {
			t.Errorf("breaker %+v, counted %+v", b, c)
		}
	})
}

func TestWhatIsToSpareIsNotForced(t *testing.T) {
	t.Parallel()
	for _, terms := range []pullchain.FetchOptions{{NoForce: true}, {Speculative: true}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(fail(internal), fail(internal))
			for i := range 5 {
				r.get(t.Context(), of(i, blob))
			}
			before, start := r.counts(), time.Now()
			_, err := r.Fetch(t.Context(), on(terms, blob))
			if pullchain.ReasonOf(err) != pullchain.Unavailable || time.Since(start) != 0 {
				t.Errorf("%v, after %v", err, time.Since(start))
			}
			if got := r.counts(); !slices.Equal(got, before) {
				t.Errorf("asked %v, before it %v", got, before)
			}
			time.Sleep(2 * time.Second)
			r.ups[0].become(serve)
			r.mustGet(t, blob) // what is not to spare is
		})
	}
}

// A body that was to spare goes on from another lane, but waits for none.
func TestWhatIsToSpareDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(cutAt(400_000), serve)
		if got, err := r.get(t.Context(), on(pullchain.FetchOptions{NoForce: true}, blob)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve)
		r.ups[0].become(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if req.Range.From > 0 {
				return fail(internal)(ctx, req)
			}
			return cutAt(400_000)(ctx, req)
		})
		start := time.Now()
		got, err := r.get(t.Context(), on(pullchain.FetchOptions{NoForce: true}, blob))
		if pullchain.ReasonOf(err) != pullchain.Unavailable || len(got) > 400_000 || time.Since(start) != 0 {
			t.Errorf("%d bytes and %v, after %v", len(got), err, time.Since(start))
		}
	})
}

func TestWhatIsToSpareIsNotForcedInMidBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(cutAt(400_000))
		resp := r.mustFetch(t, on(pullchain.FetchOptions{NoForce: true}, blob))
		defer resp.Body.Close()
		r.ups[0].become(fail(internal))
		for i := range 5 {
			r.get(t.Context(), of(i, blob))
		}
		before := r.ups[0].count()
		if got, err := io.ReadAll(resp.Body); pullchain.ReasonOf(err) != pullchain.Unavailable || len(got) > 400_000 {
			t.Errorf("%d bytes and %v", len(got), err)
		}
		if got := r.ups[0].count(); got != before {
			t.Errorf("asked %d times behind its open breaker", got-before)
		}
	})
}

func TestAvoidedLanesAreAskedLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(serve, serve, fail(internal))
		r.mustGet(t, on(pullchain.FetchOptions{Avoid: []string{"b", "a"}}, blob))
		if got := r.counts(); !slices.Equal(got, []int{1, 0, 1}) {
			t.Errorf("asked %v", got)
		}
		if got := r.Snapshot().FailoversTotal; got != 1 {
			t.Errorf("%d failovers, want the one from c", got)
		}
	})
}
