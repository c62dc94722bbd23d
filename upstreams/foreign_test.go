package upstreams_test

import (
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// elsewhere is a registry of the rig's image at another origin, to which a hub redirects.
func (r *rig) elsewhere(name string) *simnet.Hub {
	return r.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{testImage}, Direct: true})
}

// sendTo redirects everything of r's hub but the ping to the same path at other.
func (r *rig) sendTo(t *testing.T, other *simnet.Server) {
	t.Helper()
	t.Cleanup(r.hub.Inject(simnet.Fault{On: simnet.Manifests | simnet.Blobs, Respond: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Location", other.URL()+q.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	})}))
}

// TestForeignToken: a redirect to another registry that wants a token gets an anonymous
// one, asked for once; the login and its token stay at home (docs/faults.md 0.4, 6).
func TestForeignToken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*upstreams.Config){"anonymous": nil, "with a login": withSecrets} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true})
			other := r.elsewhere("other")
			r.sendTo(t, other.Server)
			u := r.upstream(t, change)
			_, content := r.img.Layer(0)
			for range 2 {
				_, body := mustFetch(t, u, r.tag())
				sameBytes(t, body, r.img.Manifest())
				_, body = mustFetch(t, u, r.blob())
				sameBytes(t, body, content)
			}
			calls := r.Ledger().Find(simnet.Filter{Server: "other-auth"})
			if len(calls) != 1 || calls[0].Authorization != "" || strings.Contains(calls[0].Query, "push") {
				t.Errorf("token calls %+v; want one, anonymous", calls)
			}
			if n := r.count(simnet.Filter{Server: "other", Status: 401}); n != 1 {
				t.Errorf("refused %d times; the token is to be sent ahead", n)
			}
			for _, marker := range []string{"marker-password", "marker-key"} {
				if leaks := r.Ledger().Leaks(marker, "hub"); len(leaks) > 0 {
					t.Errorf("%s went to %s", marker, leaks[0].Server)
				}
			}
			if leaks := r.Ledger().Leaks("simnet-", "other"); len(leaks) > 0 {
				t.Errorf("the other registry's token went to %s", leaks[0].Server)
			}
		})
	}
}

// TestForeignTokenIsGuarded: the realm of another registry passes the guard like every
// URL that the network tells (CVE-2026-48978), and what fails there judges the request.
func TestForeignTokenIsGuarded(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	other := r.elsewhere("other")
	inside := r.origin("inside", answering(200, nil, `{"token":"x"}`))
	r.sendTo(t, other.Server)
	for _, realm := range []string{
		"http://169.254.169.254/token", "https://metadata.google.internal/", "http://" + inside.Addr() + "/token", "https://u:p@" + inside.Addr() + "/", "file:///etc/passwd",
	} {
		other.SetRealm(realm)
		_, _, err := fetch(t, r.upstream(t, withSecrets), r.tag())
		if e := expectError(t, err, pullchain.Refused, pullchain.CodeAuthRealm); e.Reach != pullchain.ReachRequest {
			t.Errorf("%s: reach %v", realm, e.Reach)
		}
	}
	r.expectUntouched(t, "inside")

	other.SetRealm("")
	other.Auth.Inject(simnet.Fault{Status: 503})
	_, _, err := fetch(t, r.upstream(t, nil), r.tag())
	if e := expectError(t, err, pullchain.Unavailable, pullchain.CodeToken); e.Reach != pullchain.ReachRequest {
		t.Errorf("a foreign token server's failure: reach %v", e.Reach)
	}
}

// TestForeignTokenIsForRegistries: a place that is no registry's, and one that wants a
// login, get no token (CVE-2020-15157, CVE-2026-49349).
func TestForeignTokenIsForRegistries(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	thief := r.AddAuth(simnet.AuthConfig{Origin: simnet.Origin{Name: "thief-auth"}})
	bearer := r.origin("bearer", answering(401, map[string]string{"WWW-Authenticate": `Bearer realm="` + thief.Realm() + `"`}, ""))
	basic := r.origin("basic", answering(401, map[string]string{"WWW-Authenticate": `Basic realm="x"`}, ""))
	for _, to := range []string{bearer.URL() + "/layer", bearer.URL() + "/v2/UPPER/blobs/x", basic.URL() + "/v2/library/alpine/blobs/x"} {
		lift := r.hub.Inject(simnet.Fault{On: simnet.Blobs, Respond: redirect(to)})
		_, _, err := fetch(t, r.upstream(t, withSecrets), r.blob())
		if e := expectError(t, err, pullchain.Unavailable, pullchain.CodeSignedURL); e.Reach != pullchain.ReachRequest {
			t.Errorf("%s: reach %v", to, e.Reach)
		}
		lift()
	}
	r.expectUntouched(t, "thief-auth")
	if leaks := r.Ledger().Leaks("marker-", "hub"); len(leaks) > 0 {
		t.Errorf("%s got %v", leaks[0].Server, leaks[0].Header)
	}
}

// TestLoginWithinOneOrigin: a redirect on the same scheme, host and port keeps the login;
// one that has left it does not get it back by leading home again.
func TestLoginWithinOneOrigin(t *testing.T) {
	t.Parallel()
	users := simnet.HubConfig{Direct: true, Auth: simnet.AuthConfig{Users: map[string]string{"robot": "marker-password"}}}
	t.Run("same origin", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, users)
		defer simnet.FindQuirk("redirect-308").Play(r.hub)()
		u := r.upstream(t, withSecrets)
		mustFetch(t, u, r.tag())
		mustFetch(t, u, r.blob())
		at := r.Ledger().Find(simnet.Filter{Server: "hub", Class: simnet.Blobs})
		last := at[len(at)-1]
		if len(at) != 2 || last.Query != "moved=1" || !strings.HasPrefix(last.Authorization, "Bearer ") || last.Header.Get("X-Relay-Key") != "marker-key" {
			t.Errorf("%+v", at)
		}
	})
	t.Run("a signed link on the same origin", func(t *testing.T) { // as of S3: one kind of authentication
		t.Parallel()
		r := newRig(t, users)
		_, content := r.img.Layer(0)
		defer simnet.FindQuirk("redirect-308").Play(r.hub)()
		defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Match: "moved=1", Respond: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Header.Get("Authorization") != "" {
				answering(400, nil, "<Error><Code>InvalidArgument</Code></Error>")(w, q)
				return
			}
			answering(200, nil, string(content))(w, q)
		})})()
		_, body := mustFetch(t, r.upstream(t, withSecrets), r.blob())
		sameBytes(t, body, content)
	})
	t.Run("by way of another", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, users)
		other := r.origin("other", func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Location", r.hub.URL()+q.URL.Path+"?back=1")
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
		u := r.upstream(t, withSecrets)
		mustFetch(t, u, r.tag()) // a token is at hand
		defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Unless: "back=1", Respond: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Location", other.URL()+q.URL.Path)
			w.WriteHeader(http.StatusTemporaryRedirect)
		})})()
		_, _, _ = fetch(t, u, r.blob())
		for _, e := range r.Ledger().Find(simnet.Filter{Class: simnet.Blobs}) {
			if (e.Server == "other" || e.Query == "back=1") && (e.Header.Get("X-Relay-Key") != "" || strings.Contains(e.Authorization, "Basic")) {
				t.Errorf("%s %s?%s got %v", e.Server, e.Path, e.Query, e.Header)
			}
		}
		if n := r.count(simnet.Filter{Server: "hub-auth"}); n < 1 {
			t.Error("no token was asked for: this shows nothing")
		}
		for _, e := range r.Ledger().Find(simnet.Filter{Server: "hub-auth"})[1:] {
			if e.Authorization != "" {
				t.Errorf("the login went to the token server for a redirect from elsewhere: %+v", e)
			}
		}
	})
	t.Run("another scheme", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, users)
		plain := r.AddOrigin(simnet.Origin{Name: "plain", Plain: true, Handler: answering(200, nil, "stolen")})
		u := r.upstream(t, withSecrets)
		mustFetch(t, u, r.tag())
		defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Respond: redirect("http://" + plain.Addr() + "/x")})()
		_, _, err := fetch(t, u, r.blob())
		expectError(t, err, pullchain.Refused, pullchain.CodeRedirectBlocked)
		r.expectUntouched(t, "plain")
	})
}

// TestTokenWaitIsShown: the wait for a token is a wait for a connection to a caller that
// traces those, and it has an end.
func TestTokenWaitIsShown(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	u := r.upstream(t, nil)
	var mu sync.Mutex
	var seen []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, s)
	}
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GetConn: func(host string) { note("wait " + strings.TrimLeft(host, "0123456789.:")) },
		GotConn: func(httptrace.GotConnInfo) { note("got") },
	})
	for _, want := range []string{"wait ,got,wait token server,got,wait ,got", "wait ,got"} { // the hub's 401, its token, the hub; then the hub alone
		seen = nil
		resp, err := u.Fetch(ctx, r.tag())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := strings.Join(seen, ","); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestHeaderTime: a manifest's headers have their own time, although token calls, which
// have more, share its connections.
func TestHeaderTime(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		r := newRig(t, simnet.HubConfig{Origin: simnet.Origin{HTTP2: h2}})
		u := r.upstream(t, func(c *upstreams.Config) { c.Timeouts.Header = 300 * time.Millisecond })
		defer r.hub.Auth.Inject(simnet.Fault{On: simnet.Token, Delay: 600 * time.Millisecond})()
		mustFetch(t, u, r.tag())
		defer r.hub.Inject(simnet.Fault{On: simnet.Manifests, Drop: simnet.EndStall})()
		_, _, err := fetch(t, u, r.tag())
		if e := expectError(t, err, pullchain.Unavailable, pullchain.CodeHeaderTimeout); e.Reach != pullchain.ReachClass {
			t.Errorf("reach %v", e.Reach)
		}
	}
}
