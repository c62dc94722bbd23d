package fill

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// TestF20ProvedBeforeShown: an upstream that is not trusted flips a byte, and no client
// notices: none has got a byte of it.
func TestF20ProvedBeforeShown(t *testing.T) {
	t.Parallel()
	for name, takesOver := range map[string]bool{"from the first byte": false, "in the middle": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size = 3 * mib
			fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
				r.chain.answer = func(n int, req pullchain.Request) reply {
					switch {
					case avoids(req, "liar"):
						return reply{lane: "good"}
					case takesOver && n == 0:
						return reply{lane: "cut", cut: 100 * kib, rate: mib}
					}
					return reply{lane: "liar", unproved: true, flip: []int64{size / 2}, rate: mib}
				}
				resp, err := r.fetch(t.Context(), whole)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.Unproved == takesOver || resp.Size != size {
					t.Errorf("told %+v", resp)
				}
				if takesOver { // what was sent before is from the other lane, and right
					if _, err := io.CopyN(io.Discard, resp.Body, 100*kib); err != nil {
						t.Fatal(err)
					}
				}
				got, err := io.ReadAll(resp.Body)
				if err != nil || string(got) != string(r.chain.content[size-len(got):]) || !takesOver && len(got) != size {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				r.settled(true)
			})
		})
	}
}

// TestTooLargeToBeProved streams what is larger than what may be kept back.
func TestTooLargeToBeProved(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		r.fills.SetVerifyMax(mib)
		r.chain.answer = func(int, pullchain.Request) reply { return reply{unproved: true, rate: mib} }
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		if ready, err := resp.Body.Sections().Next(); err != nil || ready.Size == 0 || resp.Unproved {
			t.Errorf("ready: %d, %v", ready.Size, err)
		}
	})
}
