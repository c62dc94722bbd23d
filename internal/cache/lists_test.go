package cache_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/cache"
)

var (
	subject   = digest.FromString("an image")
	signature = "sha256-" + subject.Encoded() + ".sig"

	tagsList  = pullchain.Request{Op: pullchain.Tags, Repo: alpine, Query: "n=2"}
	referrers = pullchain.Request{Op: pullchain.Referrers, Repo: alpine, Digest: subject}
)

// A lister is a registry of lists, which fails as it is told to.
type lister struct {
	pages map[string]string // by the query
	err   error
	login string
	asked int
}

func (l *lister) Fetch(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	l.asked++
	if l.err != nil {
		return pullchain.Response{}, l.err
	}
	page, ok := l.pages[req.Op.String()+"?"+req.Query]
	if !ok {
		return pullchain.Response{}, notFound
	}
	return pullchain.Response{
		Status: http.StatusOK, MediaType: "application/json", Size: int64(len(page)), Body: pullchain.BytesBody([]byte(page)),
		Header: http.Header{"Link": {`</v2/library/alpine/tags/list?n=2&last=b>; rel="next"`}}, Private: l.login != "", Login: l.login,
		Attempts: []pullchain.Attempt{{Upstream: "hub"}},
	}, nil
}

func lists(t *testing.T, test func(t *testing.T, r *rig, l *lister)) {
	bubble(t, func(t *testing.T, r *rig) {
		l := &lister{pages: map[string]string{"tags?n=2": `{"tags":["a","b"]}`, "referrers?": `{"manifests":[]}`}}
		r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: l})
		test(t, r, l)
	})
}

// wantList checks what came for a list, and how often the registry was asked for it.
func (l *lister) wantList(t *testing.T, a answer, result pullchain.CacheResult, body string, asked int) {
	t.Helper()
	if a.err != nil || a.result != result || a.body != body || a.resp.Header.Get("Link") == "" || a.resp.MediaType != "application/json" {
		t.Errorf("got %s %q of %s, %v; want %s %q", a.result, a.body, a.resp.MediaType, a.err, result, body)
	}
	if l.asked != asked {
		t.Errorf("asked %d times, want %d", l.asked, asked)
	}
}

// F71 A list is believed for tag_ttl, and served for stale_if_error where no upstream can say,
// after a restart too.
func TestF71_Lists(t *testing.T) {
	lists(t, func(t *testing.T, r *rig, l *lister) {
		const one, two = `{"tags":["a","b"]}`, `{"tags":["a","b","c"]}`
		l.wantList(t, r.do(tagsList), miss, one, 1)
		time.Sleep(59 * time.Second)
		a := r.do(tagsList)
		l.wantList(t, a, hit, one, 1)
		if a.age != 59*time.Second {
			t.Errorf("age %v", a.age)
		}
		l.pages["tags?n=2"] = two
		time.Sleep(2 * time.Second)
		l.wantList(t, r.do(tagsList), miss, two, 2)
		l.wantList(t, r.do(referrers), miss, `{"manifests":[]}`, 3)

		l.err = errDown
		time.Sleep(24 * time.Hour)
		l.wantList(t, r.do(tagsList), stale, two, 4)
		l.wantList(t, r.do(tagsList), stale, two, 4) // not again for a while
		time.Sleep(time.Minute)
		r.restart()
		r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: l})
		l.wantList(t, r.do(tagsList), stale, two, 5)
		l.wantList(t, r.do(referrers), stale, `{"manifests":[]}`, 6)
		if got := r.do(pullchain.Request{Op: pullchain.Tags, Repo: alpine, Query: "n=3"}); got.reason != pullchain.Unavailable {
			t.Errorf("another page: %v", got.err)
		}
		if got := r.do(pullchain.Request{Op: pullchain.Tags, Repo: "library/redis", Query: "n=2"}); got.reason != pullchain.Unavailable {
			t.Errorf("another repository: %v", got.err)
		}
		time.Sleep(8 * 24 * time.Hour)
		if got := r.do(tagsList); got.reason != pullchain.Unavailable {
			t.Errorf("after stale_if_error: %s, %v", got.body, got.err)
		}
	})
}

// F71 A registry's no is believed: the list is forgotten.
func TestF71_ListThatIsGone(t *testing.T) {
	for name, no := range map[string]error{"not found": notFound, "denied": errDenied} {
		t.Run(name, func(t *testing.T) {
			lists(t, func(t *testing.T, r *rig, l *lister) {
				l.wantList(t, r.do(tagsList), miss, `{"tags":["a","b"]}`, 1)
				time.Sleep(2 * time.Minute)
				l.err = no
				if got := r.do(tagsList); got.reason != pullchain.ReasonOf(no) {
					t.Errorf("%s, %v", got.body, got.err)
				}
				l.err = errDown
				if got := r.do(tagsList); got.reason != pullchain.Unavailable {
					t.Errorf("after it: %s, %v", got.body, got.err)
				}
			})
		})
	}
}

// F71 What a login was told is nothing without it.
func TestF71_ListOfALogin(t *testing.T) {
	lists(t, func(t *testing.T, r *rig, l *lister) {
		l.login = "robot"
		with := cache.Registry{Name: "docker.io", Next: l, Holds: func(login string) bool { return login == "robot" }}
		r.hub = r.cache.Chain(with)
		l.wantList(t, r.do(tagsList), miss, `{"tags":["a","b"]}`, 1)
		l.wantList(t, r.do(tagsList), hit, `{"tags":["a","b"]}`, 1)
		without := with
		without.Holds = func(string) bool { return false }
		r.hub = r.cache.Chain(without)
		l.err = errDown
		if got := r.do(tagsList); got.err == nil {
			t.Errorf("without the login: %s", got.body)
		}
	})
}

// F71 That there were no referrers, and no tag that has an image's signatures, can be said
// again where no upstream can; of any other tag it is not known.
func TestF71_Absences(t *testing.T) {
	lists(t, func(t *testing.T, r *rig, l *lister) {
		delete(l.pages, "referrers?")
		for _, req := range []pullchain.Request{referrers, byTag(alpine, signature), byTag(alpine, "3.20")} {
			if got := r.do(req); got.reason != pullchain.NotFound {
				t.Errorf("%v: %v", req, got.err)
			}
		}
		l.err = errDown
		time.Sleep(time.Hour)
		r.restart()
		r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: l})
		for _, req := range []pullchain.Request{referrers, byTag(alpine, signature), head(byTag(alpine, signature))} {
			if got := r.do(req); got.reason != pullchain.NotFound || !strings.Contains(got.err.Error(), "when an upstream could say") {
				t.Errorf("%v: %v", req, got.err)
			}
		}
		if got := r.do(byTag(alpine, "3.20")); got.reason != pullchain.Unavailable {
			t.Errorf("a tag like any other: %v", got.err)
		}
		l.err, l.pages["referrers?"] = nil, `{"manifests":[1]}`
		time.Sleep(11 * time.Second) // none is asked again at once
		before := l.asked
		l.wantList(t, r.do(referrers), miss, `{"manifests":[1]}`, before+1)
	})
}

// F71 What is asked all the time is written down again and again, so that a restart finds it
// as it was confirmed last.
func TestF71_ListsAskedAllTheTime(t *testing.T) {
	lists(t, func(t *testing.T, r *rig, l *lister) {
		for range 8 * 24 * 15 {
			r.do(tagsList)
			r.do(byTag(alpine, signature))
			time.Sleep(4 * time.Minute)
		}
		l.err = errDown
		r.restart()
		r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: l})
		if got := r.do(tagsList); got.result != stale || got.err != nil {
			t.Errorf("the list: %s, %v", got.result, got.err)
		}
		if got := r.do(byTag(alpine, signature)); got.reason != pullchain.NotFound {
			t.Errorf("the absence: %v", got.err)
		}
	})
}

// F71 A mirror that has no list takes none away that a login was told.
func TestF71_MirrorHasNoSay(t *testing.T) {
	lists(t, func(t *testing.T, r *rig, l *lister) {
		l.login = "robot"
		reg := cache.Registry{Name: "docker.io", Next: l, Holds: func(login string) bool { return login == "robot" }, Knows: func(up string) bool { return up == "hub" }}
		r.hub = r.cache.Chain(reg)
		l.wantList(t, r.do(referrers), miss, `{"manifests":[]}`, 1)
		l.err = &pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Status: 404, Attempts: []pullchain.Attempt{
			{Upstream: "hub", Err: errDown}, {Upstream: "mirror", Err: notFound},
		}}
		time.Sleep(time.Hour)
		for asked := range 2 {
			l.wantList(t, r.do(referrers), stale, `{"manifests":[]}`, 2+asked)
			time.Sleep(time.Minute)
			r.restart()
			r.hub = r.cache.Chain(reg)
		}
	})
}

// F71 However many pages clients ask for, so many are written down.
func TestF71_PagesAreBounded(t *testing.T) {
	lists(t, func(t *testing.T, r *rig, l *lister) {
		page := `{"tags":["` + strings.Repeat("a", 10) + `"]}`
		for i := range 5000 {
			query := fmt.Sprint("last=", i)
			l.pages["tags?"+query] = page
			r.do(pullchain.Request{Op: pullchain.Tags, Repo: alpine, Query: query})
		}
		synctest.Wait()
		n := 0
		for range r.store.Records("list") {
			n++
		}
		if n != 4096 {
			t.Errorf("%d records", n)
		}
	})
}
