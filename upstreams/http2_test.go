package upstreams_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// TestBlobsOverHTTP2: a registry is taken to redirect, so its first hop goes
// over the warm connection. One that serves its blobs itself does so over
// HTTP/1.1, and is asked twice once; what is small may come as it does.
func TestBlobsOverHTTP2(t *testing.T) {
	t.Parallel()
	const h1, h2 = "HTTP/1.1", "HTTP/2.0"
	large := simnet.Image{Repo: testImage.Repo, Tags: testImage.Tags, Layers: []simnet.Layer{{Size: 1 << 20}}}
	for name, tt := range map[string]struct {
		image  simnet.Image
		direct bool
		origin bool
		hub    []string // the protocol of each request for a blob
		cdn    []string
	}{
		"redirects":            {large, false, true, []string{h2, h2}, []string{h1, h1}},
		"serves itself":        {large, true, true, []string{h2, h1, h1}, nil},
		"serves small ones":    {testImage, true, true, []string{h2, h1}, nil},
		"relay":                {large, true, false, []string{h1, h1}, nil},
		"relay that redirects": {large, false, false, []string{h1, h2}, []string{h1, h1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Origin: simnet.Origin{HTTP2: true}, Images: []simnet.Image{tt.image}, Direct: tt.direct})
			r.img = r.Build(tt.image)
			u := r.upstream(t, func(c *upstreams.Config) { c.Authoritative = &tt.origin })
			mustFetch(t, u, r.tag())
			_, content := r.img.Layer(0)
			for range 2 {
				_, body := mustFetch(t, u, r.blob())
				sameBytes(t, body, content)
			}
			for server, want := range map[string][]string{"hub": tt.hub, "hub-cdn": tt.cdn} {
				var got []string
				for _, e := range r.Ledger().Find(simnet.Filter{Server: server, Class: simnet.Blobs}) {
					got = append(got, e.Proto)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s", server, diff)
				}
			}
			part := r.blob()
			part.Range = pullchain.Range{From: 10, To: 20}
			_, body := mustFetch(t, u, part)
			sameBytes(t, body, content[10:20])
		})
	}
}

// TestF60_TokenExpiresBetweenTheProtocols: that a blob is asked for once more, over HTTP/1.1,
// is no answer to a challenge. A token that has expired by then, as in a machine's sleep, is
// renewed.
func TestF60_TokenExpiresBetweenTheProtocols(t *testing.T) {
	t.Parallel()
	large := simnet.Image{Repo: testImage.Repo, Tags: testImage.Tags, Layers: []simnet.Layer{{Size: 1 << 20}}}
	r := newRig(t, simnet.HubConfig{Origin: simnet.Origin{HTTP2: true}, Images: []simnet.Image{large}, Direct: true})
	r.img = r.Build(large)
	_, content := r.img.Layer(0)
	origin := true
	u := r.upstream(t, func(c *upstreams.Config) { c.Authoritative = &origin })
	mustFetch(t, u, r.tag())
	r.hub.Inject(simnet.Fault{On: simnet.Blobs, Times: 1, Respond: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.hub.Auth.ExpireTokens()
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content)
	})})
	_, body := mustFetch(t, u, r.blob())
	sameBytes(t, body, content)
	var got []int
	for _, e := range r.Ledger().Find(simnet.Filter{Server: "hub", Class: simnet.Blobs}) {
		got = append(got, e.Status)
	}
	if diff := cmp.Diff([]int{200, 401, 200}, got); diff != "" {
		t.Errorf("requests for the blob (-want +got):\n%s", diff)
	}
}
