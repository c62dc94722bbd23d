package balancer_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// wrapped is a Body that another link of the chain has wrapped: it embeds what it
// wraps, as pullchain.Body asks for.
type wrapped struct{ pullchain.Body }

// wrapping returns what fetch does, each body wrapped and with something of its own
// to tell.
func wrapping(fetch fetchFunc, login string) fetchFunc {
	return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		resp, err := fetch(ctx, req)
		if err == nil {
			resp.Private, resp.Login = login != "", login
			resp.Body = wrapped{resp.Body}
		}
		return resp, err
	}
}

// What a body tells is right whether upstreams wrap theirs or not, and a link above
// that wraps the balancer's own loses nothing of it.
func TestAWrappedBodyLosesNothing(t *testing.T) {
	t.Parallel()
	for name, req := range map[string]pullchain.Request{"verified": blob, "unverified": on(unverified, blob), "a part": ranged(100, 900_000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(wrapping(cutAt(400_000), ""), wrapping(serve, "ann"))
				resp, err := r.Fetch(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				inner := resp.Body
				resp.Body = wrapped{wrapped{inner}}
				defer resp.Body.Close()
				if got, want := resp.Body.Source(), (pullchain.Source{Upstream: "a"}); got != want {
					t.Errorf("before the cut it comes from %+v, want %+v", got, want)
				}
				got, err := io.ReadAll(resp.Body)
				want := content[req.Range.From:]
				if !req.Range.Whole() {
					want = content[req.Range.From:req.Range.To]
				}
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
				}
				if got, want := resp.Body.Source(), (pullchain.Source{Upstream: "b", Private: true, Login: "ann"}); got != want {
					t.Errorf("after the cut it comes from %+v, want %+v", got, want)
				}
				var tried []string
				for _, a := range resp.Trace() {
					tried = append(tried, a.Upstream+" "+string(pullchain.CodeOf(a.Err)))
				}
				if diff := cmp.Diff([]string{"a ", "a truncated", "b "}, tried); diff != "" {
					t.Errorf("attempts (-want +got):\n%s", diff)
				}
				if got := pullchain.ServedBy(resp.Body.Attempts()); got != "b" {
					t.Errorf("served by %q", got)
				}
				if resp.Body.Sections() != nil || inner.Sections() != nil {
					t.Error("a body that is verified on the way can be read past that")
				}
			})
		})
	}
}

// An error that ends a verified body says which upstream failed, and how the others
// did, as that of one which the caller verifies does.
func TestTheErrorOfABodyNamesItsLanes(t *testing.T) {
	t.Parallel()
	for name, req := range map[string]pullchain.Request{"verified": blob, "unverified": on(unverified, blob)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(cutAt(400_000), fail(internal))
				resp, err := r.Fetch(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				r.ups[0].become(fail(internal))
				_, err = io.ReadAll(resp.Body)
				if e := errorOf(t, err); e.Code != pullchain.CodeTruncated || e.Upstream != "a" {
					t.Errorf("%q of %q: %v", e.Code, e.Upstream, err)
				}
				if !strings.Contains(err.Error(), string(pullchain.CodeServerError)) {
					t.Errorf("nothing of the second upstream: %v", err)
				}
			})
		})
	}
}
