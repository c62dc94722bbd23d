package cache_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

func TestTagIsFreshForTagTTL(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.want(r.do(byTag(alpine, "3.20")), miss, d)
		r.asked(getManifest)

		time.Sleep(59 * time.Second)
		a := r.do(byTag(alpine, "3.20"))
		r.want(a, hit, d)
		if a.age != 59*time.Second {
			t.Errorf("age %v", a.age)
		}
		if len(a.resp.Attempts) != 0 || len(a.resp.Links) != 2 || a.resp.MediaType != wire.TypeOCIManifest {
			t.Errorf("a hit of %+v", a.resp)
		}
		r.want(r.do(head(byTag(alpine, "3.20"))), hit, d)
		r.asked()
	})
}

// A tag_ttl of 0 is a wish, and not a setting that is missing: every request for a
// tag asks, by HEAD where its manifest is here, and a digest is here for good.
func TestTagIsAlwaysAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.cache.SetTimes(new(time.Duration), 0)
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.want(r.do(byTag(alpine, "3.20")), miss, d)
		r.asked(getManifest)
		for range 3 {
			r.want(r.do(byTag(alpine, "3.20")), hit, d)
			r.asked(headManifest)
		}
		r.want(r.do(byDigest(alpine, d)), hit, d)
		r.asked()

		r.cache.SetTimes(nil, 0)
		r.want(r.do(byTag(alpine, "3.20")), hit, d)
		r.asked()
	})
}

func TestTagIsRefreshedByHead(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.do(byTag(alpine, "3.20"))
		r.asked(getManifest)

		time.Sleep(61 * time.Second)
		a := r.do(byTag(alpine, "3.20"))
		r.want(a, hit, d)
		if a.age != 0 || len(a.resp.Attempts) != 1 {
			t.Errorf("age %v and attempts %v after a refresh", a.age, a.resp.Attempts)
		}
		r.asked(headManifest)

		time.Sleep(59 * time.Second)
		r.want(r.do(byTag(alpine, "3.20")), hit, d)
		r.asked()
	})
}

func TestTagThatChangedIsFetchedByDigest(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		one, _ := r.up.image("one")
		two, _ := r.up.image("two")
		r.up.tag("library/alpine:3.20", one)
		r.do(byTag(alpine, "3.20"))
		r.asked(getManifest)

		r.up.tag("library/alpine:3.20", two)
		r.want(r.do(byTag(alpine, "3.20")), hit, one) // not yet
		time.Sleep(time.Minute)
		a := r.do(byTag(alpine, "3.20"))
		r.want(a, miss, two)
		if len(a.resp.Attempts) != 2 {
			t.Errorf("attempts %v, want those of the HEAD and of the GET", a.resp.Attempts)
		}
		r.asked(headManifest, getManifest)
		if last := r.up.requests[len(r.up.requests)-1]; last.Digest != two || last.Tag != "" {
			t.Errorf("the last request is %+v", last)
		}
		r.want(r.do(byTag(alpine, "3.20")), hit, two)
		r.want(r.do(byDigest(alpine, one)), hit, one)
		r.asked()
	})
}

func TestTagWhoseNewDigestIsMissingIsFetchedByTag(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		one, _ := r.up.image("one")
		two, _ := r.up.image("two")
		r.up.tag("library/alpine:3.20", one)
		r.do(byTag(alpine, "3.20"))
		r.up.tag("library/alpine:3.20", two)
		r.up.set(func() {
			r.up.fail = func(req pullchain.Request) error { // a mirror has the tag, and lacks the digest
				if req.Digest == two {
					return notFound
				}
				return nil
			}
		})
		time.Sleep(time.Minute)
		r.want(r.do(byTag(alpine, "3.20")), miss, two)
		r.asked(getManifest, headManifest, getManifest, getManifest)
	})
}

func TestTagWithoutADigestInTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.up.mute = true
		r.want(r.do(byTag(alpine, "3.20")), miss, d)
		r.asked(getManifest)
		time.Sleep(time.Minute)
		r.want(r.do(byTag(alpine, "3.20")), miss, d)
		r.asked(headManifest, getManifest)
	})
}

// A client's HEAD is told what the upstream's HEAD leaves out: the manifest is fetched,
// once, and is here for the client's GET (docs/faults.md 0.4).
func TestHeadThatTellsTooLittle(t *testing.T) {
	for name, little := range map[string]func(*upstream){
		"no digest": func(u *upstream) { u.mute = true },
		"no length": func(u *upstream) { u.headSize = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d, _ := r.up.image("one")
				r.up.tag("library/alpine:3.20", d)
				little(r.up)
				a := r.do(head(byTag(alpine, "3.20")))
				r.want(a, miss, d)
				if a.resp.Size != int64(len(r.up.content[d].body)) || a.resp.MediaType != wire.TypeOCIManifest || len(a.body) != 0 {
					t.Errorf("HEAD of size %d and type %q, with %d bytes", a.resp.Size, a.resp.MediaType, len(a.body))
				}
				r.asked(headManifest, getManifest)
				r.want(r.do(byDigest(alpine, d)), hit, d)
				r.asked()

				// Where the GET fails, what the HEAD said is the answer.
				time.Sleep(time.Minute)
				two, _ := r.up.image("two")
				r.up.tag("library/alpine:3.20", two)
				r.up.set(func() {
					r.up.fail = func(req pullchain.Request) error {
						if req.Head {
							return nil
						}
						return &pullchain.Error{Reason: pullchain.Unavailable}
					}
				})
				if a := r.do(head(byTag(alpine, "3.20"))); a.err != nil || a.resp.Status != http.StatusOK {
					t.Errorf("%d, %v", a.resp.Status, a.err)
				}
			})
		})
	}
}

// What has not changed, as its entity tag says, is not fetched for a HEAD's sake.
func TestHeadThatTellsTooLittleOfWhatIsKnown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.up.set(func() { r.up.mute, r.up.headSize, r.up.entity = true, -1, `"1"` })
		r.want(r.do(head(byTag(alpine, "3.20"))), miss, d)
		r.asked(headManifest, getManifest)
		time.Sleep(time.Minute)
		a := r.do(head(byTag(alpine, "3.20")))
		r.want(a, hit, d)
		r.asked(headManifest)
		if a.resp.Size != int64(len(r.up.content[d].body)) {
			t.Errorf("of size %d", a.resp.Size)
		}
	})
}

// Where a HEAD names no digest, the entity tag says whether a tag has changed, if it
// is a strong one and the same upstream's.
func TestTagIsConfirmedByItsEntityTag(t *testing.T) {
	for _, tt := range []struct {
		name, first, second string
		asked               []string
	}{
		{"same", `"1"`, `"1"`, []string{headManifest}},
		{"other", `"1"`, `"2"`, []string{headManifest, getManifest}},
		{"weak", `W/"1"`, `W/"1"`, []string{headManifest, getManifest}},
		{"none", "", "", []string{headManifest, getManifest}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d, _ := r.up.image("one")
				r.up.tag("library/alpine:3.20", d)
				r.up.set(func() { r.up.mute, r.up.entity = true, tt.first })
				r.want(r.do(byTag(alpine, "3.20")), miss, d)
				r.asked(getManifest)
				time.Sleep(time.Minute)
				r.up.set(func() { r.up.entity = tt.second })
				if a := r.do(byTag(alpine, "3.20")); a.err != nil || a.resp.Digest != d {
					t.Errorf("%s, %v", a.resp.Digest, a.err)
				}
				r.asked(tt.asked...)
			})
		})
	}
}

func TestHeadStaysHead(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		a := r.do(head(byTag(alpine, "3.20")))
		r.want(a, miss, d)
		if a.resp.Size != int64(len(r.up.content[d].body)) || a.resp.MediaType != wire.TypeOCIManifest {
			t.Errorf("HEAD of size %d and type %q", a.resp.Size, a.resp.MediaType)
		}
		r.want(r.do(head(byTag(alpine, "3.20"))), hit, d)
		r.asked(headManifest)

		time.Sleep(time.Minute)
		r.want(r.do(head(byTag(alpine, "3.20"))), hit, d)
		r.asked(headManifest)

		two, _ := r.up.image("two")
		r.up.tag("library/alpine:3.20", two)
		time.Sleep(time.Minute)
		r.want(r.do(head(byTag(alpine, "3.20"))), miss, two)
		r.asked(headManifest)

		// What the HEAD said is what the GET after it gets, from whoever has it.
		r.up.tag("library/alpine:3.20", d)
		r.want(r.do(byTag(alpine, "3.20")), miss, two)
		r.asked(getManifest)
		if last := r.up.requests[len(r.up.requests)-1]; last.Digest != two {
			t.Errorf("the last request is %+v", last)
		}
	})
}

func TestFiftyClientsOneRefresh(t *testing.T) {
	for _, test := range []struct {
		name string
		warm bool
		head func(i int) bool
		want []string
	}{
		{"cold GETs", false, func(int) bool { return false }, []string{getManifest}},
		{"cold HEADs", false, func(int) bool { return true }, []string{headManifest}},
		{"warm GETs", true, func(int) bool { return false }, []string{headManifest}},
		{"warm HEADs and GETs", true, func(i int) bool { return i%2 == 0 }, []string{headManifest}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d, _ := r.up.image("one")
				r.up.tag("library/alpine:3.20", d)
				if test.warm {
					r.do(byTag(alpine, "3.20"))
					r.asked(getManifest)
					time.Sleep(2 * time.Minute)
				}
				r.up.wait = time.Second
				var wg sync.WaitGroup
				for i := range 50 {
					wg.Go(func() {
						req := byTag(alpine, "3.20")
						req.Head = test.head(i)
						if a := r.do(req); a.err != nil || a.digest != d {
							t.Errorf("client %d got %s, %v", i, a.digest, a.err)
						}
					})
				}
				wg.Wait()
				r.asked(test.want...)
				if n := r.cache.Snapshot().Coalesced; !test.warm && n != 49 {
					t.Errorf("%d coalesced, want 49", n)
				}
			})
		})
	}
}

// A GET that comes while a HEAD is under way waits for it: there is never more
// than one refresh of a tag.
func TestGetWaitsForAHead(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.up.wait = time.Second
		var wg sync.WaitGroup
		wg.Go(func() { r.want(r.do(head(byTag(alpine, "3.20"))), miss, d) })
		wg.Go(func() {
			time.Sleep(500 * time.Millisecond)
			r.want(r.do(byTag(alpine, "3.20")), miss, d)
		})
		time.Sleep(900 * time.Millisecond)
		r.asked(headManifest)
		wg.Wait()
		r.asked(getManifest)
	})
}

// A GET has its turn in the end, even if HEADs that help it nothing never cease.
func TestGetIsNotStarvedByHeads(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.up.wait = time.Second
		r.cache.SetTimes(new(time.Duration), 0) // no HEAD is of use to the next request
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					r.do(head(byTag(alpine, "3.20")))
				}
			})
		}
		time.Sleep(1500 * time.Millisecond)
		start := time.Now()
		r.want(r.do(byTag(alpine, "3.20")), miss, d)
		if waited := time.Since(start); waited > 5*time.Second {
			t.Errorf("answered after %v", waited)
		}
		stop()
		wg.Wait()
	})
}

// A tag whose manifest has been evicted is fetched with one request, and with all
// that can be done for it: there is nothing to fall back on.
func TestTagWhoseManifestIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.do(byTag(alpine, "3.20"))
		r.asked(getManifest)
		r.restartWith(func() {
			if err := r.store.Remove(d); err != nil {
				t.Fatal(err)
			}
		})
		time.Sleep(time.Minute)
		r.want(r.do(byTag(alpine, "3.20")), miss, d)
		r.asked(getManifest)
		if last := r.up.requests[len(r.up.requests)-1]; last.Options.NoForce || last.Tag == "" {
			t.Errorf("the last request is %+v", last)
		}
	})
}

func TestRefreshOutlivesTheClientWhoBeganIt(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.up.wait = time.Second
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.hub.Fetch(ctx, byTag(alpine, "3.20")); pullchain.ReasonOf(err) != pullchain.Canceled {
				t.Errorf("who left got %v", err)
			}
		})
		wg.Go(func() {
			time.Sleep(100 * time.Millisecond)
			if a := r.do(byTag(alpine, "3.20")); a.err != nil || a.digest != d {
				t.Errorf("who stayed got %s, %v", a.digest, a.err)
			}
		})
		time.Sleep(500 * time.Millisecond)
		leave()
		wg.Wait()
		r.asked(getManifest)
	})
}

func TestRefreshIsCalledOffWhenAllHaveLeft(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.up.wait = time.Hour
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		start := time.Now()
		_, err := r.hub.Fetch(ctx, byTag(alpine, "3.20"))
		if err == nil || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		r.up.set(func() { r.up.wait = 0 })
		r.want(r.do(byTag(alpine, "3.20")), miss, d) // anew, at once
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("answered after %v", waited)
		}
		r.asked(getManifest, getManifest)
	})
}

func TestAcceptIsPartOfTheKeyOfATag(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, _ := r.up.image("one")
		index := r.up.index(m)
		schema2 := r.up.add(wire.TypeDockerManifest, []byte(`{"schemaVersion":2,"config":{"digest":"`+digest.FromString("c").String()+`","size":1}}`))
		r.up.choose = func(req pullchain.Request) digest.Digest {
			if len(req.Accept) == 1 && req.Accept[0] == wire.TypeDockerManifest {
				return schema2
			}
			return index
		}
		ask := func(accept ...string) answer {
			req := byTag(alpine, "3.20")
			req.Accept = accept
			return r.do(req)
		}
		r.want(ask(acceptContainerd...), miss, index)
		r.asked(getManifest)
		for name, accept := range map[string][]string{
			"docker": {
				"application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json", wire.TypeDockerManifest,
				wire.TypeDockerList, wire.TypeOCIIndex, wire.TypeOCIManifest,
			},
			"podman": {
				wire.TypeOCIManifest, wire.TypeDockerManifest, "application/vnd.docker.distribution.manifest.v1+prettyjws",
				"application/vnd.docker.distribution.manifest.v1+json", wire.TypeDockerList, wire.TypeOCIIndex,
			},
			"crane":   {wire.TypeDockerManifest + "," + wire.TypeDockerList + "," + wire.TypeOCIIndex + "," + wire.TypeOCIManifest},
			"curl":    {"*/*"},
			"lenient": {"text/html, application/*;q=0.5"},
			"silent":  nil,
		} {
			if a := ask(accept...); a.result != hit || a.digest != index {
				t.Errorf("%s got %s %s, want a hit of the index", name, a.result, a.digest)
			}
		}
		r.asked()
		r.want(ask(acceptSchema2...), miss, schema2)
		r.want(ask(acceptSchema2...), hit, schema2)
		r.want(ask(acceptContainerd...), hit, index)
		r.asked(getManifest)
	})
}

// Docker's distribution looks for exact types: "*/*" (curl) or "application/*" get
// the image of one platform where the full list gets the index. That must not be
// what a tag means to everybody else.
func TestWildcardAcceptDoesNotDecideForOthers(t *testing.T) {
	for name, accept := range map[string][]string{"curl": {"*/*"}, "lenient": {"text/html, application/*;q=0.5"}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				one, _ := r.up.image("one platform")
				index := r.up.index(one)
				r.up.choose = func(req pullchain.Request) digest.Digest {
					if req.Accept == nil || slices.Equal(req.Accept, acceptContainerd) { // nil: all that there are
						return index
					}
					return one
				}
				req := byTag(alpine, "3.20")
				req.Accept = accept
				r.want(r.do(head(req)), miss, index)
				r.want(r.do(req), miss, index)
				r.want(r.do(byTag(alpine, "3.20")), hit, index)
			})
		})
	}
}

func TestTagsSurviveARestartWithEveryUpstreamDown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := r.up.image("one")
		index := r.up.index(m)
		r.up.tag("library/alpine:3.20", index)
		r.do(byTag(alpine, "3.20"))
		r.do(byDigest(alpine, m))
		r.do(blob(alpine, layer))
		r.asked(getManifest, getManifest, getBlob)
		r.restart()
		r.up.down(errDown)

		time.Sleep(24 * time.Hour)
		a := r.do(byTag(alpine, "3.20"))
		r.want(a, stale, index)
		if a.age < 24*time.Hour || len(a.resp.Attempts) != 1 || a.resp.Attempts[0].Err == nil {
			t.Errorf("stale after %v with attempts %v", a.age, a.resp.Attempts)
		}
		r.want(r.do(head(byTag(alpine, "3.20"))), stale, index)
		r.want(r.do(byDigest(alpine, index)), hit, index)
		r.want(r.do(head(byDigest(alpine, m))), hit, m)
		r.want(r.do(byDigest(alpine, m)), hit, m)
		if a := r.do(blob(alpine, layer)); a.err != nil || a.body != "layer of one" {
			t.Errorf("layer: %q, %v", a.body, a.err)
		}
		r.asked(headManifest)
	})
}

// A document of a kind that is not known here is served from the store as well.
func TestAnUnknownKindSurvivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d := r.up.add("application/vnd.example.thing+json", []byte(`{"schemaVersion":3}`))
		r.want(r.do(byDigest(alpine, d)), miss, d)
		r.asked(getManifest)
		r.restart()
		r.up.down(errDown)
		a := r.do(byDigest(alpine, d))
		r.want(a, hit, d)
		if a.resp.MediaType != "application/vnd.example.thing+json" {
			t.Errorf("type %q", a.resp.MediaType)
		}
	})
}

func TestCloseEndsARefresh(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.wait = time.Hour
		var wg sync.WaitGroup
		wg.Go(func() {
			if a := r.do(byTag(alpine, "3.20")); a.reason != pullchain.Canceled {
				t.Errorf("got %v", a.err)
			}
		})
		synctest.Wait()
		hub := r.hub
		r.close()
		wg.Wait()
		if a := fetch(t, hub, byTag(alpine, "3.20")); a.reason != pullchain.Canceled {
			t.Errorf("after Close: %v", a.err)
		}
	})
}
