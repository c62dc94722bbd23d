package cache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// What a tag meant to clients of one kind is served to those of another while
// nobody can be asked, if they would have got the same: never a platform that a
// registry has picked for somebody else.
func TestStaleTagOfOtherClients(t *testing.T) {
	indexes := []string{wire.TypeOCIIndex, wire.TypeDockerList}
	oci := []string{wire.TypeOCIManifest}
	for _, tt := range []struct {
		name   string
		index  bool     // what the tag means
		first  []string // the Accept of who pulled before
		later  []string // and of who pulls now
		served bool
	}{
		{"an index, to who takes it", true, acceptContainerd, indexes, true},
		{"an index, the other way round", true, indexes, acceptContainerd, true},
		{"an index, to who takes none", true, acceptContainerd, oci, false},
		{"a manifest, to who takes less", false, acceptContainerd, oci, true},
		{"a manifest, to who takes another type", false, acceptContainerd, acceptSchema2, false},
		{"a manifest that may be one of many", false, oci, acceptContainerd, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				m, _ := r.up.image("one")
				if tt.index {
					m = r.up.index(m)
				}
				r.up.tag(alpine+":3", m)
				accepting := func(types []string) pullchain.Request {
					req := byTag(alpine, "3")
					req.Accept = types
					return req
				}
				r.want(r.do(accepting(tt.first)), miss, m)
				r.asked(getManifest)
				r.restart()
				r.up.down(errDown)
				for range 2 {
					for _, req := range []pullchain.Request{accepting(tt.later), head(accepting(tt.later))} {
						a := r.do(req)
						if tt.served {
							r.want(a, stale, m)
						} else if a.err != errDown {
							t.Errorf("HEAD %v: %s %s, %v", req.Head, a.result, a.digest, a.err)
						}
					}
				}
				if tt.served { // nobody is asked again for a while
					r.asked(headManifest)
				}
			})
		})
	}
}

// What was borrowed is asked for as soon as somebody answers, be it ever so young,
// and is forgotten when he says that it is gone.
func TestBorrowedTagIsNeverCurrent(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		one, _ := r.up.image("one")
		two, _ := r.up.image("two")
		indexes := func(of digest.Digest) digest.Digest { return r.up.index(of) }
		r.up.tag(alpine+":3", indexes(one))
		r.do(byTag(alpine, "3"))
		other := byTag(alpine, "3")
		other.Accept = []string{wire.TypeOCIIndex}
		r.asked(getManifest)
		r.want(r.do(other), hit, indexes(one)) // by a HEAD, not by another GET
		r.asked(headManifest)

		third := byTag(alpine, "3")
		third.Accept = []string{wire.TypeOCIIndex, wire.TypeOCIManifest}
		r.up.down(errDown)
		r.want(r.do(third), stale, indexes(one))
		r.up.up()
		r.up.tag(alpine+":3", indexes(two))
		time.Sleep(11 * time.Second)
		r.asked(headManifest)
		r.want(r.do(third), miss, indexes(two))
		synctest.Wait()
		r.asked(headManifest, getManifest)

		fourth := byTag(alpine, "3")
		fourth.Accept = []string{wire.TypeOCIIndex, wire.TypeDockerList}
		r.up.down(notFound)
		if a := r.do(fourth); a.reason != pullchain.NotFound {
			t.Errorf("%s %s, %v", a.result, a.digest, a.err)
		}
	})
}
