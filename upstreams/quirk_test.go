package upstreams_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// TestQuirks: what the world's registries do to a pull, and an attempt survives
// (docs/faults.md 0): the right manifest by tag, by digest and by HEAD, the right blob
// whole and from its middle on. What only another attempt or another upstream can mend
// is the balancer's, and the error says so.
func TestQuirks(t *testing.T) {
	t.Parallel()
	later := map[string]string{ // the prefix of names -> why one attempt is not enough
		"empty-once": "the balancer asks again", "cut-once": "the balancer goes on at the byte", "range-400-first-cut": "likewise",
		"not-found-once": "a later pull", "router-404": "no registry is there", "ingress-404": "likewise", "page-404": "likewise", "challenge-403": "likewise",
		"head-manifest-500": "HEAD's answer, and no other's", "head-manifest-503": "likewise",
		"blobs-429-plain": "it is really limited", "cdn-429-html": "likewise", "token-slow": "its time", "label-wrong-digest": "by a tag, label or bytes",
	}
	for _, q := range simnet.Quirks() {
		if later[q.Name] != "" || strings.HasPrefix(q.Name, "empty-once") {
			continue
		}
		t.Run(q.Name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{})
			defer q.Play(r.hub)()
			u := r.upstream(t, nil)
			layer, content := r.img.Layer(0)
			whole, part, middle := r.blob(), r.blob(), r.blob()
			part.Range = pullchain.Range{From: 100, To: 200}
			middle.Range, middle.Size = pullchain.Range{From: 5000}, layer.Size
			for range 2 { // the second time with what was learnt
				for _, req := range []pullchain.Request{r.head(r.tag()), r.tag(), r.pinned(), r.head(r.blob()), whole, part, middle} {
					req.Size = layer.Size
					resp, body := mustFetch(t, u, req)
					switch {
					case req.Op == pullchain.Manifest && resp.MediaType != "" && !strings.EqualFold(strings.Split(resp.MediaType, ";")[0], simnet.TypeOCIManifest) && !(req.Head && q.Name[:6] == "label-"):
						t.Errorf("%s: type %q", req.Reference(), resp.MediaType)
					case req.Head && len(body) != 0:
						t.Errorf("HEAD with %d bytes", len(body))
					case req.Head && req.Op == pullchain.Blob && resp.Size != layer.Size && resp.Size != -1:
						t.Errorf("HEAD of a blob: %d bytes", resp.Size)
					case req.Head:
					case req.Op == pullchain.Manifest:
						sameBytes(t, body, r.img.Manifest())
					case resp.Status == http.StatusPartialContent:
						sameBytes(t, body, content[resp.Range.From:resp.Range.To])
					default:
						sameBytes(t, body, content)
					}
				}
			}
		})
	}
}

// reachOfError returns err's reach; it fails if err is none of ours.
func reachOfError(t *testing.T, err error) pullchain.Reach {
	t.Helper()
	e, ok := errors.AsType[*pullchain.Error](err)
	if !ok {
		t.Fatalf("%v is no *pullchain.Error", err)
	}
	return e.Reach
}

// TestStepDown: what is refused is asked for in a lesser way within the same attempt, and
// the next request knows (docs/faults.md 0.4).
func TestStepDown(t *testing.T) {
	t.Parallel()
	part := func(r *rig) pullchain.Request {
		req := r.blob()
		req.Range = pullchain.Range{From: 100, To: 200}
		return req
	}
	for name, tt := range map[string]struct {
		quirk       string
		req         func(r *rig) pullchain.Request
		first, next []string // method and range of each request for it
	}{
		"range 400": {"range-400", part, []string{"GET bytes=100-199", "GET bytes=100-199", "GET "}, []string{"GET "}}, // the second has a fresh link
		"range 416": {"range-416", part, []string{"GET bytes=100-199", "GET "}, []string{"GET "}},
		"range 501": {"range-501", part, []string{"GET bytes=100-199", "GET "}, []string{"GET "}},
		"HEAD of a link for GET": {"head-blob-403", func(r *rig) pullchain.Request { return r.head(r.blob()) },
			[]string{"HEAD ", "GET bytes=0-0"}, []string{"GET bytes=0-0"}},
		"HEAD of a blob 404": {"head-blob-404", func(r *rig) pullchain.Request { return r.head(r.blob()) }, []string{"GET bytes=0-0"}, []string{"GET bytes=0-0"}},
		"HEAD of a manifest 405": {"head-manifest-405", func(r *rig) pullchain.Request { return r.head(r.tag()) },
			[]string{"HEAD ", "GET "}, []string{"GET "}},
		"HEAD of a manifest 404": {"head-manifest-404", func(r *rig) pullchain.Request { return r.head(r.tag()) },
			[]string{"HEAD ", "GET "}, []string{"HEAD ", "GET "}},
		"HEAD with a label that says nothing": {"label-json", func(r *rig) pullchain.Request { return r.head(r.tag()) },
			[]string{"HEAD ", "GET "}, []string{"HEAD ", "GET "}}, // one image's may be so
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true})
			defer simnet.FindQuirk(tt.quirk).Play(r.hub)()
			u := r.upstream(t, nil)
			server := "hub-cdn"
			if tt.req(r).Op == pullchain.Manifest {
				server = "hub"
			}
			asked := func() []string {
				mustFetch(t, u, tt.req(r))
				var got []string
				for _, e := range r.Ledger().Find(simnet.Filter{Server: server}) {
					got = append(got, e.Method+" "+e.Range)
				}
				r.Ledger().Reset()
				return got
			}
			for i, want := range [][]string{tt.first, tt.next} {
				if got := asked(); strings.Join(got, ", ") != strings.Join(want, ", ") {
					t.Errorf("request %d: asked %q, want %q", i+1, got, want)
				}
			}
			u.Reset()
			if got := asked(); strings.Join(got, ", ") != strings.Join(tt.first, ", ") {
				t.Errorf("after a reset: asked %q, want %q", got, tt.first)
			}
		})
	}
}

// TestStepDownHasAnEnd: what is refused in every way is asked for in each once, and the
// last answer is the one that counts.
func TestStepDownHasAnEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	lift := r.hub.Inject(simnet.Fault{Status: 403, Body: `{"errors":[{"code":"DENIED","message":"not for you"}]}`})
	req := r.blob()
	req.Range = pullchain.Range{From: 100}
	for want, req := range map[int]pullchain.Request{2: req, 3: r.head(r.blob())} {
		r.Ledger().Reset()
		_, _, err := fetch(t, r.upstream(t, nil), req)
		if e := expectError(t, err, pullchain.Denied, pullchain.CodeForbidden); !strings.Contains(e.Error(), "not for you") {
			t.Errorf("%v does not say what was said", e)
		}
		if n := r.count(simnet.Filter{}); n != want {
			t.Errorf("%d requests, want %d", n, want)
		}
	}
	lift()
	// A real 416 is the client's, whatever the size that is known.
	layer, _ := r.img.Layer(0)
	req.Range, req.Size = pullchain.Range{From: layer.Size}, layer.Size
	r.Ledger().Reset()
	_, _, err := fetch(t, r.upstream(t, nil), req)
	expectError(t, err, pullchain.Invalid, pullchain.CodeWrongRange)
	if n := r.count(simnet.Filter{}); n != 1 {
		t.Errorf("%d requests for what is beyond the end", n)
	}
}

// TestOddImage: what is said of one image is said of that.
func TestOddImage(t *testing.T) {
	t.Parallel()
	for quirk, want := range map[string]pullchain.Reach{
		"odd-500": pullchain.ReachClass, "odd-503-hour": pullchain.ReachContent, "odd-html": pullchain.ReachRequest,
		"odd-403": pullchain.ReachContent, "odd-451": pullchain.ReachContent,
	} {
		r := newRig(t, simnet.HubConfig{Open: true})
		defer simnet.FindQuirk(quirk).Play(r.hub)()
		u := r.upstream(t, nil)
		_, _, err := fetch(t, u, pullchain.Request{Op: pullchain.Manifest, Repo: simnet.OddRepo, Tag: "1"})
		if got := reachOfError(t, err); got != want {
			t.Errorf("%s: reach %v, want %v: %v", quirk, got, want, err)
		}
		mustFetch(t, u, r.tag())
	}
}

// TestReferrersThatAreNone: an upstream without the API, in whatever words, leaves the
// client to look for the tag (distribution-spec, "Unavailable Referrers API").
func TestReferrersThatAreNone(t *testing.T) {
	t.Parallel()
	for _, q := range simnet.Quirks() {
		if !strings.HasPrefix(q.Name, "referrers-") {
			continue
		}
		r := newRig(t, simnet.HubConfig{Open: true})
		defer q.Play(r.hub)()
		req := pullchain.Request{Op: pullchain.Referrers, Repo: r.img.Repo, Digest: r.img.Root.Digest}
		_, _, err := fetch(t, r.upstream(t, nil), req)
		e, ok := errors.AsType[*pullchain.Error](err)
		if !ok || e.Reason != pullchain.NotFound || e.Final || e.Reach != pullchain.ReachRequest || e.RetryAfter != 0 {
			t.Errorf("%s: %+v, want not found, of this request alone", q.Name, err)
		}
	}
	r := newRig(t, simnet.HubConfig{Open: true})
	defer r.hub.Inject(simnet.Fault{Status: 503})()
	_, _, err := fetch(t, r.upstream(t, nil), pullchain.Request{Op: pullchain.Referrers, Repo: r.img.Repo, Digest: r.img.Root.Digest})
	if expectError(t, err, pullchain.Unavailable, pullchain.CodeServerError).Reach != pullchain.ReachRequest {
		t.Error("an optional endpoint's failure reaches further")
	}
}

// TestLargeTagsList: a list of 3 MB passes as it is.
func TestLargeTagsList(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	defer simnet.FindQuirk("tags-3mb").Play(r.hub)()
	if resp, body := mustFetch(t, r.upstream(t, nil), pullchain.Request{Op: pullchain.Tags, Repo: r.img.Repo}); len(body) != 3<<20 || resp.Size != 3<<20 {
		t.Errorf("%d bytes", len(body))
	}
}

// TestNames: an upstream that spells names otherwise is asked in its own spelling, for
// tokens as well; one that serves several registries is told which.
func TestNames(t *testing.T) {
	t.Parallel()
	image := testImage
	image.Repo = "mirrored/alpine"
	r := newRig(t, simnet.HubConfig{Images: []simnet.Image{image}})
	u := r.upstream(t, func(c *upstreams.Config) {
		c.URL += "/mirrored"
		c.NS, c.Rewrite = true, []upstreams.Rewrite{{From: "library/", To: ""}, {From: "coredns/coredns", To: "coredns"}}
	})
	_, body := mustFetch(t, u, r.tag())
	sameBytes(t, body, r.img.Manifest())
	for _, e := range r.Ledger().Find(simnet.Filter{Server: "hub"}) {
		if e.Path != "/v2/mirrored/alpine/manifests/3.20" || e.Query != "ns=docker.io" {
			t.Errorf("asked for %s?%s", e.Path, e.Query)
		}
	}
	tokens := r.Ledger().Find(simnet.Filter{Server: "hub-auth"})
	if len(tokens) != 1 || !strings.Contains(tokens[0].Query, "mirrored%2Falpine") || strings.Contains(tokens[0].Query, "ns=") {
		t.Errorf("tokens %+v", tokens)
	}
	mustFetch(t, u, pullchain.Request{Op: pullchain.Tags, Registry: "docker.io", Repo: "library/alpine", Query: "n=1"})
	if at := r.Ledger().Find(simnet.Filter{Class: simnet.Tags, Status: 200}); len(at) != 1 || at[0].Query != "n=1&ns=docker.io" {
		t.Errorf("tags %+v", at)
	}
}
