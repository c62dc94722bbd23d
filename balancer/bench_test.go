package balancer_test

import (
	"io"
	"testing"

	"github.com/pullchain/pullchain"
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
