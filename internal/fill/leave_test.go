package fill

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// A client that has been sent everything may leave before anybody has looked
// whether there is more: that is no reason to call its answer broken off.
func TestLeaveWithEverything(t *testing.T) {
	t.Parallel()
	for _, want := range []pullchain.Range{{}, {From: 100, To: mib}} {
		fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			resp, err := r.fetch(ctx, want)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body := resp.Body.Sections()
			end := 2 * mib
			if want.To > 0 {
				end = int(want.To - want.From)
			}
			for sent := 0; sent < end; {
				section, err := body.Next()
				if err != nil {
					t.Fatal(err)
				}
				body.Sent(section.Size)
				sent += int(section.Size)
			}
			leave()
			if section, err := body.Next(); err != io.EOF {
				t.Errorf("%v: %d bytes and %v after the last one, want %v", want, section.Size, err, io.EOF)
			}
		})
	}
}

// A client of a part that has been sent all of it from a copy that proved wrong,
// and leaves while another copy is fetched, must not keep a processor busy.
func TestLeaveWhileAnotherCopyIsFetched(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if n == 0 {
				return reply{lane: "a", rate: 10 * mib, flip: []int64{mib + mib/2}}
			}
			return reply{lane: "b", rate: 100 * kib}
		}
		stay, err := r.fetch(t.Context(), pullchain.Range{})
		if err != nil {
			t.Fatal(err)
		}
		defer stay.Body.Close()
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		resp, err := r.fetch(ctx, pullchain.Range{From: 0, To: mib})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := resp.Body.Sections()
		for sent := 0; sent < mib; {
			section, err := body.Next()
			if err != nil {
				t.Fatal(err)
			}
			body.Sent(section.Size)
			sent += int(section.Size)
		}
		time.Sleep(time.Second) // another copy is being fetched
		leave()
		start := time.Now()
		_, err = body.Next()
		if err == io.EOF || pullchain.ReasonOf(err) != pullchain.Canceled || time.Since(start) > 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
