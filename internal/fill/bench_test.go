package fill

import (
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// BenchmarkColdFill fetches 100 MiB from memory through a fill that hashes and
// stores them, and compares that with a plain copy of the same bytes: the ratio
// is that of the times until the client has the last byte. The bytes come as from
// TLS: by the record, or by the packet.
func BenchmarkColdFill(b *testing.B) {
	content := noise(100*mib, 1)
	for name, read := range map[string]int{"record": 16 * kib, "packet": 1400} {
		b.Run(name, func(b *testing.B) { coldFill(b, content, read) })
	}
}

// coldFill is BenchmarkColdFill with so many bytes a read.
func coldFill(b *testing.B, content []byte, read int) {
	b.SetBytes(int64(len(content)))
	var fill, plain time.Duration
	for b.Loop() {
		c := newChainFake(content)
		c.answer = func(int, pullchain.Request) reply { return reply{rate: 1 << 40, chunk: read} }
		store, err := blobstore.Open(blobstore.Config{Dir: b.TempDir(), MaxSize: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		s := New(Config{Store: store})
		req := pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/app", Digest: c.digest}

		began := time.Now()
		resp, err := s.Fetch(b.Context(), c.registry("docker.io"), req, nil)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{resp.Body}, make([]byte, bufferSize))
		fill += time.Since(began)
		if n != int64(len(content)) || err != nil {
			b.Fatal(n, err)
		}
		resp.Body.Close()

		began = time.Now()
		direct, err := c.Fetch(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{direct.Body}, make([]byte, bufferSize)); err != nil {
			b.Fatal(err)
		}
		plain += time.Since(began)
		direct.Body.Close()

		b.StopTimer()
		s.Close()
		store.Close()
		b.StartTimer()
	}
	b.ReportMetric(fill.Seconds()/plain.Seconds(), "fill/copy")
	b.ReportMetric(float64(len(content))*float64(b.N)/fill.Seconds()/1e6, "fillMB/s")
}

type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

// TestConcurrentReaders is for the race detector: real time, real files, many
// readers of all kinds, and lanes that cut and lie.
func TestConcurrentReaders(t *testing.T) {
	t.Parallel()
	content := noise(4*mib, 3)
	c := newChainFake(content)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(1, 2))
	c.answer = func(n int, req pullchain.Request) reply {
		mu.Lock()
		defer mu.Unlock()
		how := reply{rate: 8*mib + rng.IntN(64*mib), lane: string(rune('a' + n%3))}
		if n < 4 {
			how.cut = rng.Int64N(4 * mib)
		}
		if n == 1 {
			how.flip = []int64{how.cut - 1}
		}
		return how
	}
	store, err := blobstore.Open(blobstore.Config{Dir: t.TempDir(), MaxSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Store: store})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() { readSome(t, s, c, uint64(i)) })
	}
	wg.Wait()
	s.Close()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if n := c.open.Load(); n != 0 {
		t.Errorf("%d bodies were left open", n)
	}
}

// readSome is one reader of TestConcurrentReaders.
func readSome(t *testing.T, s *Fills, c *chainFake, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
	req := pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/app", Digest: c.digest}
	if seed%3 == 0 {
		req.Range.From = 1 + rng.Int64N(3*mib)
	}
	resp, err := s.Fetch(t.Context(), c.registry("docker.io"), req, nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if seed%7 == 0 {
		_, _ = io.CopyN(io.Discard, resp.Body, rng.Int64N(mib))
		return
	}
	got, err := io.ReadAll(resp.Body)
	if err == nil && req.Range.Whole() && digest.FromBytes(got) != c.digest {
		t.Errorf("reader %d: a whole blob that is wrong", seed)
	}
	if err != nil && pullchain.ReasonOf(err) != pullchain.Corrupt {
		t.Errorf("reader %d: %v", seed, err)
	}
	if err == nil && !req.Range.Whole() && len(got) != len(c.content)-int(req.Range.From) {
		t.Errorf("reader %d: %d bytes", seed, len(got))
	}
}
