package cache_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/wire"
)

// A shelf is a cache with three images in it: alpine:3.20 is an index of two
// manifests that share a layer; alpine:edge has one of these manifests too;
// busybox:1 shares only the layer.
type shelf struct {
	*rig
	base, own, box digest.Digest // layers: shared by all, of arm, of busybox
	amd, arm, busy digest.Digest // manifests
	index, edge    digest.Digest
	names          map[digest.Digest]string
}

func stock(t *testing.T, test func(t *testing.T, s *shelf)) {
	bubble(t, func(t *testing.T, r *rig) {
		s := &shelf{rig: r}
		s.base, s.own, s.box = r.up.add("", []byte("base layer")), r.up.add("", []byte("layer of arm")), r.up.add("", []byte("layer of busybox"))
		s.amd = r.up.manifest(s.base, "config of amd")
		s.arm = r.up.add(wire.TypeOCIManifest, toJSON(map[string]any{
			"schemaVersion": 2, "config": r.up.descriptor(s.own), "layers": []any{r.up.descriptor(s.base), r.up.descriptor(s.own)},
		}))
		s.busy = r.up.add(wire.TypeOCIManifest, toJSON(map[string]any{
			"schemaVersion": 2, "config": r.up.descriptor(s.box), "layers": []any{r.up.descriptor(s.base), r.up.descriptor(s.box)},
		}))
		s.index, s.edge = r.up.index(s.amd, s.arm), r.up.index(s.amd)
		s.names = map[digest.Digest]string{
			s.base: "base", s.own: "own", s.box: "box", s.amd: "amd", s.arm: "arm", s.busy: "busy", s.index: "index", s.edge: "edge",
		}
		r.up.tag("library/alpine:3.20", s.index)
		r.up.tag("library/alpine:edge", s.edge)
		r.up.tag("library/busybox:1", s.busy)
		r.do(byTag(alpine, "3.20"))
		r.do(byTag(alpine, "edge"))
		r.do(byTag("library/busybox", "1"))
		for _, d := range []digest.Digest{s.amd, s.arm} {
			r.do(byDigest(alpine, d))
		}
		for _, d := range []digest.Digest{s.base, s.own, s.box} {
			r.do(blob(alpine, d))
		}
		synctest.Wait()
		r.up.set(func() { r.up.asked = map[string]int{} })
		test(t, s)
	})
}

// here returns the names of what is stored, sorted.
func (s *shelf) here(keep func(blobstore.Info) bool) string {
	var names []string
	for info := range s.store.All(s.t.Context()) {
		if keep == nil || keep(info) {
			names = append(names, s.names[info.Digest])
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func pinned(info blobstore.Info) bool { return info.Pinned }

func TestEvict(t *testing.T) {
	const all = "amd arm base box busy edge index own"
	for _, test := range []struct {
		what    func(s *shelf) string
		objects int
		left    string
	}{
		{func(*shelf) string { return "docker.io/library/alpine:3.20" }, 3, "amd base box busy edge"},
		{func(*shelf) string { return "alpine:3.20" }, 3, "amd base box busy edge"},
		{func(*shelf) string { return "docker.io/library/alpine:edge" }, 1, "amd arm base box busy index own"},
		{func(*shelf) string { return "docker.io/library/alpine" }, 5, "base box busy"},
		{func(*shelf) string { return "busybox:1" }, 2, "amd arm base edge index own"},
		{func(s *shelf) string { return s.index.String() }, 3, "amd base box busy edge"},
		{func(s *shelf) string { return "alpine@" + s.arm.String() }, 1, "amd base box busy edge index own"},
		{func(s *shelf) string { return s.base.String() }, 1, "amd arm box busy edge index own"},
		{func(*shelf) string { return "docker.io/library/alpine:9" }, -1, all},
		{func(*shelf) string { return "ghcr.io/library/alpine" }, -1, all},
		{func(*shelf) string { return digest.FromString("x").String() }, -1, all},
	} {
		t.Run("", func(t *testing.T) {
			stock(t, func(t *testing.T, s *shelf) {
				what := test.what(s)
				before := s.store.Stats().Bytes
				change, err := s.cache.Evict(t.Context(), what)
				if test.objects < 0 {
					if !errors.Is(err, blobstore.ErrNotFound) {
						t.Errorf("%s: %v", what, err)
					}
				} else if err != nil || change.Objects != test.objects || change.Bytes != before-s.store.Stats().Bytes {
					t.Errorf("%s: %+v, %v; want %d objects and %d bytes", what, change, err, test.objects, before-s.store.Stats().Bytes)
				}
				if got := s.here(nil); got != test.left {
					t.Errorf("%s leaves %s, want %s", what, got, test.left)
				}
			})
		})
	}
}

// What was evicted is fetched again, and what means it is forgotten: in memory,
// and after a restart.
func TestEvictedTagIsAskedForAgain(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		if _, err := s.cache.Evict(t.Context(), "alpine:3.20"); err != nil {
			t.Fatal(err)
		}
		s.up.down(errDown)
		for range 2 {
			for _, a := range []answer{s.do(byTag(alpine, "3.20")), s.do(byDigest(alpine, s.index)), s.do(blob(alpine, s.own))} {
				if a.err == nil {
					t.Errorf("%s %s is served", a.result, s.names[a.digest])
				}
			}
			s.restart()
		}
		s.up.up()
		s.want(s.do(byTag(alpine, "3.20")), miss, s.index)
		s.want(s.do(byTag(alpine, "edge")), hit, s.edge)
	})
}

// What another repository has asked for too is not evicted with the first.
func TestEvictLeavesOtherRepositoriesTheirs(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := r.up.image("secret")
		r.up.private = true
		for _, repo := range []string{"team/a", "team/b"} {
			r.do(byDigest(repo, m))
			r.do(blob(repo, layer))
			synctest.Wait()
		}
		if change, err := r.cache.Evict(t.Context(), "docker.io/team/a"); err != nil || change.Objects != 0 {
			t.Errorf("%+v, %v", change, err)
		}
		if err := r.store.Update(m, func(meta *blobstore.Meta) { delete(meta.Repos, "docker.io/team/b") }); err != nil {
			t.Fatal(err)
		}
		if err := r.store.Update(layer, func(meta *blobstore.Meta) { delete(meta.Repos, "docker.io/team/b") }); err != nil {
			t.Fatal(err)
		}
		if change, err := r.cache.Evict(t.Context(), "docker.io/team/a"); err != nil || change.Objects != 2 {
			t.Errorf("%+v, %v", change, err)
		}
	})
}

func TestPin(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		for _, step := range []struct {
			what    string
			pin     bool
			objects int
			pinned  string
		}{
			{"alpine:3.20", true, 5, "amd arm base index own"},
			{"alpine:3.20", true, 0, "amd arm base index own"},
			{"busybox:1", true, 2, "amd arm base box busy index own"},
			{"alpine:3.20", false, 4, "base box busy"}, // busybox needs the base
			{"busybox:1", false, 3, ""},
			{"docker.io/library/alpine", true, 6, "amd arm base edge index own"},
			{s.edge.String(), false, 1, "amd arm base index own"},
		} {
			change, err := s.cache.Pin(t.Context(), step.what, step.pin)
			if err != nil || change.Objects != step.objects {
				t.Errorf("pin %s %t: %+v, %v, want %d objects", step.what, step.pin, change, err, step.objects)
			}
			if got := s.here(pinned); got != step.pinned {
				t.Errorf("pin %s %t: %s pinned, want %s", step.what, step.pin, got, step.pinned)
			}
		}
		s.restart()
		if got := s.here(pinned); got != "amd arm base index own" {
			t.Errorf("after a restart %s", got)
		}
		if _, err := s.cache.Pin(t.Context(), "debian:12", true); !errors.Is(err, blobstore.ErrNotFound) {
			t.Errorf("pin of nothing: %v", err)
		}
		for _, what := range []string{"", "Bad Name", "alpine:", "alpine:-x", "sha256:12", "alpine@sha256:12", "ghcr.io/"} {
			if _, err := s.cache.Pin(t.Context(), what, true); pullchain.ReasonOf(err) != pullchain.Invalid {
				t.Errorf("pin of %q: %v", what, err)
			}
		}
	})
}

func TestList(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		images := func(entries []cache.Entry) map[string]string {
			found := map[string]string{}
			for _, e := range entries {
				found[s.names[e.Digest]] = e.Kind + " " + strings.Join(e.Images, " ")
			}
			return found
		}
		const v320, edge, busybox = "docker.io/library/alpine:3.20", "docker.io/library/alpine:edge", "docker.io/library/busybox:1"
		want := map[string]string{
			"index": "manifest " + v320, "edge": "manifest " + edge, "busy": "manifest " + busybox,
			"amd": "manifest " + v320 + " " + edge, "arm": "manifest " + v320,
			"base": "blob " + v320 + " " + edge + " " + busybox, "own": "blob " + v320, "box": "blob " + busybox,
		}
		if diff := cmp.Diff(want, images(s.cache.List(t.Context(), ""))); diff != "" {
			t.Errorf("all (-want +got):\n%s", diff)
		}
		want = map[string]string{"base": want["base"], "box": want["box"], "busy": want["busy"]}
		if diff := cmp.Diff(want, images(s.cache.List(t.Context(), "busybox"))); diff != "" {
			t.Errorf("busybox (-want +got):\n%s", diff)
		}
		if got := s.cache.List(t.Context(), s.own.Encoded()[:12]); len(got) != 1 || got[0].Digest != s.own {
			t.Errorf("by digest: %+v", got)
		}
		if got := s.cache.List(t.Context(), "nothing"); len(got) != 0 {
			t.Errorf("nothing: %+v", got)
		}

		time.Sleep(time.Hour)
		s.do(byDigest(alpine, s.arm))
		time.Sleep(time.Minute)
		s.do(blob(alpine, s.box))
		for range 2 { // a look is no use
			list := s.cache.List(t.Context(), "")
			if list[0].Digest != s.box || list[1].Digest != s.arm || !list[1].Used.Equal(time.Now().Add(-time.Minute)) {
				t.Errorf("newest first: %+v", list[:2])
			}
		}
		s.restart()
		before := s.cache.List(t.Context(), "")
		time.Sleep(time.Hour)
		if diff := cmp.Diff(before, s.cache.List(t.Context(), "")); diff != "" {
			t.Errorf("a look changed (-before +after):\n%s", diff)
		}
	})
}

// What was pulled by its digest alone is named by it.
func TestListOfWhatHasNoTag(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := r.up.image("one")
		r.do(byDigest(alpine, m))
		r.do(blob(alpine, layer))
		synctest.Wait()
		for _, e := range r.cache.List(t.Context(), "") {
			if diff := cmp.Diff([]string{"docker.io/library/alpine@" + m.String()}, e.Images); diff != "" {
				t.Errorf("%s (-want +got):\n%s", e.Kind, diff)
			}
			if !e.Public || e.Pinned || !e.Verified {
				t.Errorf("%+v", e)
			}
		}
	})
}

func TestVerifyAndGC(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		for _, d := range []digest.Digest{s.arm, s.own} {
			path := stored(t, s.dir, d)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content[0] ^= 1
			if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, content, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		wrong := []string{}
		seen := 0
		err := s.cache.Verify(t.Context(), func(f blobstore.Finding) {
			seen++
			if f.Err != nil {
				wrong = append(wrong, s.names[f.Digest])
			}
		})
		slices.Sort(wrong)
		if err != nil || seen != 8 || !slices.Equal(wrong, []string{"arm", "own"}) {
			t.Errorf("saw %d, wrong %v, %v", seen, wrong, err)
		}
		// The manifest's right bytes were in memory; the blob is gone.
		if got := s.here(nil); got != "amd arm base box busy edge index" {
			t.Errorf("left: %s", got)
		}
		if n := s.cache.Snapshot().VerifyFailures; n != 2 {
			t.Errorf("%d failures", n)
		}
		if _, err := s.cache.GC(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestSnapshot(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		time.Sleep(2 * time.Minute)
		s.do(blob(alpine, s.base))
		s.do(byDigest(alpine, digest.FromString("nothing")))
		s.up.down(errDown)
		s.do(byTag(alpine, "edge"))
		s.do(head(byTag(alpine, "edge")))
		got := s.cache.Snapshot()
		want := map[string]uint64{"hit": 0, "miss": 5, "coalesced": 0, "stale": 2, "bypass": 0, "error": 1}
		if diff := cmp.Diff(want, got.Requests["manifest"]); diff != "" {
			t.Errorf("manifests (-want +got):\n%s", diff)
		}
		want = map[string]uint64{"hit": 1, "miss": 3, "coalesced": 0, "stale": 0, "bypass": 0, "error": 0}
		if diff := cmp.Diff(want, got.Requests["blob"]); diff != "" {
			t.Errorf("blobs (-want +got):\n%s", diff)
		}
		saved := int64(len("base layer") + len(s.up.content[s.edge].body))
		if got.Hits != 3 || got.Misses != 8 || got.StaleServed != 2 || got.Tags != 3 || got.SavedBytes != saved || got.Objects != 8 {
			t.Errorf("%+v; saved %d", got, saved)
		}
	})
}
