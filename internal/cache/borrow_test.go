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
				first, later := accepting(byTag(alpine, "3"), tt.first...), accepting(byTag(alpine, "3"), tt.later...)
				r.want(r.do(first), miss, m)
				r.asked(getManifest)
				r.restart()
				r.up.down(errDown)
				for range 2 {
					for _, req := range []pullchain.Request{later, head(later)} {
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

// accepting is req of a client that takes these types alone.
func accepting(req pullchain.Request, types ...string) pullchain.Request {
	req.Accept = types
	return req
}

// A tag that the registry has said is gone is not borrowed back.
func TestGoneTagIsNotBorrowed(t *testing.T) {
	t.Parallel()
	for name, own := range map[string]bool{"never asked for by that client": false, "asked for by it before": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				one, _ := r.up.image("one")
				m := r.up.index(one)
				r.up.tag(alpine+":3", m)
				r.do(byTag(alpine, "3")) // containerd
				k := accepting(byTag(alpine, "3"), wire.TypeOCIIndex, wire.TypeDockerList)
				if own {
					r.do(k)
				}
				synctest.Wait()
				time.Sleep(time.Hour)
				r.up.down(notFound)
				if a := r.do(k); a.reason != pullchain.NotFound {
					t.Fatalf("%v", a.err)
				}
				time.Sleep(time.Minute)
				r.up.down(errDown)
				if a := r.do(k); a.err == nil {
					t.Errorf("after the registry's 404: %s %s", a.result, a.digest)
				}
			})
		})
	}
}

// The same for private content: 404 is what registries say to who may not see.
func TestPrivateTagAfterNoIsNotBorrowed(t *testing.T) {
	t.Parallel()
	gone := &pullchain.Error{Reason: pullchain.NotFound, Status: 404}
	forbidden := &pullchain.Error{Reason: pullchain.Denied, Status: 403}
	for name, no := range map[string]error{
		"404":              notFound,
		"403":              errDenied,
		"403, mirror down": verdict(pullchain.Unavailable, 0, errDown, forbidden),
		"404, mirror down": verdict(pullchain.Unavailable, 0, errDown, gone),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				secretRig(r)
				k := accepting(byTag(secret, "1"), wire.TypeOCIManifest)
				r.do(k)
				synctest.Wait()
				time.Sleep(time.Hour)
				r.up.down(no)
				if a := r.do(k); a.err == nil {
					t.Fatalf("served despite no: %s", a.result)
				}
				time.Sleep(time.Minute)
				r.up.down(errDown)
				if a := r.do(k); a.err == nil {
					t.Errorf("after the no: %s %s", a.result, a.digest)
				}
			})
		})
	}
}

// What was borrowed once does not stand in for what has been learnt since.
func TestBorrowedIsNotFrozen(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		one, _ := r.up.image("one")
		two, _ := r.up.image("two")
		d1, d2 := r.up.index(one), r.up.index(two)
		r.up.tag(alpine+":3", d1)
		r.do(byTag(alpine, "3"))
		k := accepting(byTag(alpine, "3"), wire.TypeOCIIndex)
		r.up.down(errDown)
		r.want(r.do(k), stale, d1)
		r.up.up()
		r.up.tag(alpine+":3", d2)
		time.Sleep(time.Hour)
		r.want(r.do(byTag(alpine, "3")), miss, d2)
		r.up.down(errDown)
		time.Sleep(time.Hour)
		r.want(r.do(k), stale, d2)
		time.Sleep(6*24*time.Hour + 23*time.Hour)
		r.want(r.do(k), stale, d2)
	})
}
