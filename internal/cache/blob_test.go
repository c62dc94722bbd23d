package cache_test

import (
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// large is a blob of which a part is passed on before all of it is there.
func large(r *rig) (digest.Digest, string) {
	content := strings.Repeat("0123456789abcdef", 1<<16)
	return r.up.add("", []byte(content)), content
}

// held makes the upstream's bodies of blobs wait, and returns what lets them go.
func held(r *rig) func() {
	gate := make(chan struct{})
	r.up.set(func() { r.up.hold = gate })
	return sync.OnceFunc(func() { close(gate) })
}

func TestBlobHit(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, content := large(r)
		if a := r.do(blob(alpine, d)); a.result != miss || a.body != content {
			t.Fatalf("%s %d bytes, %v", a.result, len(a.body), a.err)
		}
		synctest.Wait()
		r.asked(getBlob)
		a := r.do(blob(alpine, d))
		if a.result != hit || a.body != content || len(a.resp.Attempts) != 0 || a.resp.Size != int64(len(content)) {
			t.Errorf("%s %d bytes, %v", a.result, len(a.body), a.err)
		}
		a = r.do(ranged(blob(alpine, d), 5, 100))
		if a.result != hit || a.body != content[5:100] || a.resp.Status != 206 {
			t.Errorf("%s %q, %v", a.result, a.body, a.err)
		}
		r.asked()
	})
}

// docs/faults.md F34: a stored blob is hashed when it is first read after a start, and
// fetched again within the same request if it is wrong.
func TestStoredBlobIsHashedAfterARestart(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		bubbleName := "sound"
		if damaged {
			bubbleName = "damaged"
		}
		t.Run(bubbleName, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d, content := large(r)
				r.do(blob(alpine, d))
				synctest.Wait()
				r.asked(getBlob)
				r.close()
				if damaged {
					path := stored(t, r.dir, d)
					if err := os.Chmod(path, 0o600); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte("x"+content[1:]), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				r.open()
				if a := r.do(ranged(blob(alpine, d), int64(len(content)-9), 0)); a.body != content[len(content)-9:] {
					t.Errorf("tail %q, %v", a.body, a.err)
				}
				if !damaged {
					r.asked()
				}
				synctest.Wait()
				if a := r.do(blob(alpine, d)); a.result != hit || a.body != content {
					t.Errorf("%s %d bytes, %v", a.result, len(a.body), a.err)
				}
			})
		})
	}
}

// A fill is joined by those only who may read what it fetches.
func TestJoiningAFill(t *testing.T) {
	for _, test := range []struct {
		name    string
		private bool
		repo    string
		reason  pullchain.Reason // of an error; Unavailable for none
		asked   []string
	}{
		{"public, other repository", false, intruder, pullchain.Unavailable, nil},
		{"private, same repository", true, secret, pullchain.Unavailable, nil},
		{"private, other repository that has it", true, "team/copy", pullchain.Unavailable, []string{headBlob}},
		{"private, other repository that has it not", true, intruder, pullchain.NotFound, []string{headBlob, headBlob}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d, content := large(r)
				r.up.private = test.private
				r.up.absent = map[string]bool{intruder + "@" + d.String(): true}
				release := held(r)
				defer release()
				var wg sync.WaitGroup
				wg.Go(func() {
					if a := r.do(blob(secret, d)); a.body != content {
						t.Errorf("the first got %d bytes, %v", len(a.body), a.err)
					}
				})
				synctest.Wait()
				r.asked(getBlob)
				wg.Go(func() {
					a := r.do(head(blob(test.repo, d)))
					if test.reason == pullchain.NotFound {
						if a.reason != pullchain.NotFound {
							t.Errorf("HEAD: %s, %v", a.result, a.err)
						}
					} else if a.result != pullchain.CacheCoalesced || a.resp.Size != int64(len(content)) {
						t.Errorf("HEAD: %s of %d, %v", a.result, a.resp.Size, a.err)
					}
				})
				synctest.Wait()
				wg.Go(func() {
					a := r.do(blob(test.repo, d))
					if test.reason == pullchain.NotFound {
						if a.reason != pullchain.NotFound || a.body != "" {
							t.Errorf("%d bytes, %v", len(a.body), a.err)
						}
					} else if a.result != pullchain.CacheCoalesced || a.body != content {
						t.Errorf("%s %d bytes, %v", a.result, len(a.body), a.err)
					}
				})
				synctest.Wait()
				r.asked(test.asked...)
				release()
				wg.Wait()
				r.asked()
			})
		})
	}
}

func TestBlobHeadOfWhatIsNotHere(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, content := large(r)
		a := r.do(head(blob(alpine, d)))
		if a.result != bypass || a.resp.Size != int64(len(content)) {
			t.Errorf("%s of %d, %v", a.result, a.resp.Size, a.err)
		}
		r.asked(headBlob)
		if a := r.do(head(blob(alpine, digest.FromString("x")))); a.err != notFound {
			t.Errorf("%v", a.err)
		}
	})
}

// heldReader is a body that waits before it goes on.
type heldReader struct {
	io.Reader
	gate <-chan struct{}
}

func (b heldReader) Read(p []byte) (int, error) {
	<-b.gate
	return b.Reader.Read(p)
}
