package fill_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
)

// A hub is a registry of one blob that counts what it is asked for.
type hub struct {
	content string
	mu      sync.Mutex
	asked   int
}

func (h *hub) Fetch(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	return pullchain.Response{
		Status: 200, Digest: req.Digest, Size: int64(len(h.content)),
		Attempts: []pullchain.Attempt{{Upstream: "hub"}},
		Body:     pullchain.PlainBody(io.NopCloser(strings.NewReader(h.content))),
	}, nil
}

// Two clients of one blob, the second of a part of it, share one download, which is
// in the store once the Fills are closed.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := blobstore.Open(blobstore.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	fills := fill.New(fill.Config{Store: store})

	h := &hub{content: strings.Repeat("all the bytes of a layer. ", 1000)}
	docker := &fill.Registry{Name: "docker.io", Next: h}
	whole := pullchain.Request{Op: pullchain.Blob, Repo: "library/alpine", Digest: digest.FromString(h.content)}
	part := whole
	part.Range = pullchain.Range{From: 4, To: 13}

	all := func(bool) error { return nil } // every repository may join
	first, err := fills.Fetch(context.Background(), docker, whole, all)
	if err != nil {
		panic(err)
	}
	second, err := fills.Fetch(context.Background(), docker, part, all)
	if err != nil {
		panic(err)
	}
	n, err := io.Copy(io.Discard, first.Body)
	fmt.Println(first.Status, first.Cache, n, err)
	some, err := io.ReadAll(second.Body)
	fmt.Printf("%d %s %q %v\n", second.Status, second.Cache, some, err)
	first.Body.Close()
	second.Body.Close()

	fills.Close()
	_, stored := store.Stat(whole.Digest)
	fmt.Println("asked", h.asked, "stored", stored)
	// Output:
	// 200 miss 26000 <nil>
	// 206 coalesced "the bytes" <nil>
	// asked 1 stored true
}
