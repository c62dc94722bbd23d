package cache

import (
	"context"
	"io"
	"testing"

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
			body := resp.Body.(fileBody)
			end := 2 * mib
			if want.To > 0 {
				end = int(want.To - want.From)
			}
			for sent := 0; sent < end; {
				n, err := body.Ready()
				if err != nil {
					t.Fatal(err)
				}
				body.Sent(n)
				sent += int(n)
			}
			leave()
			if n, err := body.Ready(); err != io.EOF {
				t.Errorf("%v: %d bytes and %v after the last one, want %v", want, n, err, io.EOF)
			}
		})
	}
}
