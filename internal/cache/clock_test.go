package cache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/clocktest"
)

// writeTag makes the record of alpine:3.20 what a clock has written that was then set by by.
func (r *rig) writeTag(d digest.Digest, written time.Time, by time.Duration) {
	r.t.Helper()
	text := `{"registry":"docker.io","repo":"library/alpine","tag":"3.20","accept":15,"digest":"` + d.String() +
		`","mediaType":"x","size":1,"confirmed":"` + written.Add(-by).Format(time.RFC3339) + `"}`
	if err := r.store.PutRecord(r.t.Context(), "tag", "docker.io/library/alpine:3.20 accept=15", []byte(text)); err != nil {
		r.t.Fatal(err)
	}
}

// afterEachJump runs a test for each jump of the clock, with an upstream that is up after it,
// and one that is down.
func afterEachJump(t *testing.T, test func(t *testing.T, r *rig, jump clocktest.Jump, down bool)) {
	for _, jump := range clocktest.Jumps {
		t.Run(jump.Name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) { test(t, r, jump, false) })
		})
		t.Run(jump.Name+", upstream down", func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) { test(t, r, jump, true) })
		})
	}
}

// TestF60_ClockOfTags: a tag that was confirmed before the clock was set by a day, between two
// runs, costs one question and no more, also after another restart; and where no upstream can
// say it is served as old as it seems.
func TestF60_ClockOfTags(t *testing.T) {
	afterEachJump(t, func(t *testing.T, r *rig, jump clocktest.Jump, down bool) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.do(byTag(alpine, "3.20"))
		r.asked(getManifest)
		r.restartWith(func() { r.writeTag(d, time.Now(), jump.By) })
		if down {
			r.up.down(errDown)
			a := r.do(byTag(alpine, "3.20"))
			r.want(a, stale, d)
			if want := max(jump.By, 0); a.age != want {
				t.Errorf("%s: it is told to be %v old, want %v", jump.Name, a.age, want)
			}
			return
		}
		r.want(r.do(byTag(alpine, "3.20")), hit, d)
		r.asked(headManifest)
		r.want(r.do(byTag(alpine, "3.20")), hit, d)
		r.restart()
		r.want(r.do(byTag(alpine, "3.20")), hit, d)
		r.asked()
	})
}

// TestF60_ClockOfProofs: so it is with access to what took a login.
func TestF60_ClockOfProofs(t *testing.T) {
	afterEachJump(t, func(t *testing.T, r *rig, jump clocktest.Jump, down bool) {
		_, layer := private(r, "secret")
		r.do(blob(secret, layer))
		synctest.Wait()
		r.asked(getBlob)
		r.restartWith(func() {
			if err := r.store.Update(layer, func(m *blobstore.Meta) {
				for repo, at := range m.Repos {
					m.Prove(repo, at.Add(-jump.By), m.Logins[repo])
				}
			}); err != nil {
				t.Fatal(err)
			}
		})
		if down {
			r.up.down(errDown)
			r.want(r.do(blob(secret, layer)), stale, layer)
			return
		}
		r.want(r.do(blob(secret, layer)), hit, layer)
		r.asked(headBlob)
		r.want(r.do(blob(secret, layer)), hit, layer)
		r.restart()
		r.want(r.do(blob(secret, layer)), hit, layer)
		r.asked()
	})
}
