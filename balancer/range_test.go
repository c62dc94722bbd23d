package balancer_test

import (
	"context"
	"io"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// counting is an endless body that counts what is read of it.
type counting struct{ n int64 }

func (c *counting) Read(p []byte) (int, error) {
	clear(p)
	c.n += int64(len(p))
	return len(p), nil
}

// A range that was ignored is cut out of the whole where that is cheap. Where it
// begins beyond 32 MiB the next lane is asked, and not a byte is thrown away
// (docs/faults.md F46).
func TestHowMuchIsSkipped(t *testing.T) {
	t.Parallel()
	const size, wanted = 40 << 20, 1000
	for _, tt := range []struct {
		from   int64
		counts []int // requests to either lane
		read   bool  // the first lane's body
	}{
		{32 << 20, []int{1, 0}, true},
		{32<<20 + 1, []int{1, 1}, false},
	} {
		var body counting
		whole := func(context.Context, pullchain.Request) (pullchain.Response, error) {
			return pullchain.Response{Status: 200, Size: size, Body: pullchain.PlainBody(io.NopCloser(&body))}, nil
		}
		part := func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
			return pullchain.Response{Status: 206, Size: size, Range: req.Range, Body: pullchain.PlainBody(io.NopCloser(io.LimitReader(&counting{}, wanted)))}, nil
		}
		r := newRig(whole, part)
		req := pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/app", Digest: digest.FromString("of 40 MiB")}
		req.Range = pullchain.Range{From: tt.from, To: tt.from + wanted}
		got, err := r.get(t.Context(), req)
		if err != nil || len(got) != wanted {
			t.Fatalf("from %d: %d bytes, %v; want %d", tt.from, len(got), err, wanted)
		}
		if counts := r.counts(); !slices.Equal(counts, tt.counts) {
			t.Errorf("from %d: asked %v, want %v", tt.from, counts, tt.counts)
		}
		if read := body.n > 0; read != tt.read {
			t.Errorf("from %d: %d bytes of the whole were read", tt.from, body.n)
		}
		if !r.state(0).IgnoresRange {
			t.Errorf("from %d: that it ignores ranges is not remembered", tt.from)
		}
	}
}
