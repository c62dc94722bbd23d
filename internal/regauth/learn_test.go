package regauth

import (
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

func TestBasic(t *testing.T) {
	t.Parallel()
	n := granting(60)
	s := source(t, "http://10.0.0.5:5000", n, login)
	learn(t, s, "a/b", `Basic realm="Harbor"`)
	for _, repo := range []string{"a/b", "c/d", ""} {
		if got := header(t, s, repo); got != basic.Reveal() || s.NeedsToken(repo) {
			t.Errorf("%q: header %q, NeedsToken %t; want the login at once", repo, got, s.NeedsToken(repo))
		}
	}
	if n.calls() != 0 {
		t.Errorf("requests %q; want none", n.ledger())
	}
}

func TestBasicLoginThatIsRefusedRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := source(t, hub, granting(60), login)
		learn(t, s, "a/b", `Basic realm="x"`)
		sent := pullchain.Secret(header(t, s, "a/b"))
		s.Reject("a/b", sent)
		err := s.Learn(challenge(t, hub, sent, `Basic realm="x"`), "a/b")
		checkError(t, "Learn from the refusal", err, pullchain.Denied, pullchain.CodeUnauthorized, 401)
		_, err = s.Header(t.Context(), "a/b")
		checkError(t, "Header while it rests", err, pullchain.Denied, pullchain.CodeUnauthorized, 401)
		if got := header(t, s, "c/d"); got != basic.Reveal() {
			t.Errorf("another repository: %q; want the login, since some registries say 401 for what is not there", got)
		}
		s.Reject("", sent)
		_, err = s.Header(t.Context(), "c/d")
		checkError(t, "after /v2/ refused it", err, pullchain.Denied, pullchain.CodeUnauthorized, 401)
		time.Sleep(5 * time.Minute)
		header(t, s, "a/b")
	})
}

func TestStaticToken(t *testing.T) {
	t.Parallel()
	n := granting(60)
	s := source(t, hub, n, func(c *Config) { c.Token = canary })
	if got := header(t, s, "a/b"); got != "Bearer "+canary {
		t.Errorf("header %q; want the configured token, ahead of any challenge", got)
	}
	learn(t, s, "", `Bearer realm="https://evil.example/"`)
	if got := header(t, s, "a/b"); got != "Bearer "+canary || s.NeedsToken("a/b") || n.calls() != 0 {
		t.Errorf("header %q, requests %q; want the configured token and no calls", got, n.ledger())
	}
	s.Reject("a/b", "Bearer "+canary)
	err := s.Learn(challenge(t, hub, "Bearer "+canary, hubAuth), "a/b")
	checkError(t, "refused", err, pullchain.Denied, pullchain.CodeUnauthorized, 401)
}

func TestLearnWhereNothingCanBeDone(t *testing.T) {
	t.Parallel()
	for name, offers := range map[string][]string{
		"no challenge":         nil,
		"Basic without login":  {`Basic realm="x"`},
		"unknown scheme":       {"Negotiate"},
		"Bearer without realm": {`Bearer service="x"`},
	} {
		s := source(t, hub, granting(60), nil)
		checkError(t, name, s.Learn(challenge(t, hub, "", offers...), "a/b"), pullchain.Denied, pullchain.CodeUnauthorized, 401)
		if err := s.Learn(challenge(t, hub, "", offers...), ""); err != nil {
			t.Errorf("%s, of a probe: %v; want no error, the registry is there", name, err)
		}
	}
}

// TestBearerBeforeBasic: of several challenges the token server's is taken, and
// Basic where its realm is refused.
func TestBearerBeforeBasic(t *testing.T) {
	t.Parallel()
	n := granting(60)
	s := source(t, hub, n, login)
	learn(t, s, "a/b", `Basic realm="x", `+hubAuth)
	if got := header(t, s, "a/b"); got != "Bearer t1" {
		t.Errorf("header %q; want a token", got)
	}
	s = source(t, hub, n, login)
	learn(t, s, "a/b", `Bearer realm="https://127.0.0.1/", Basic realm="x"`)
	if got := header(t, s, "a/b"); got != basic.Reveal() {
		t.Errorf("header %q; want the login by Basic", got)
	}
}

func TestScope(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, offered, want string }{
		{"none", "", "repository:me/app:pull"},
		{"ours", "repository:me/app:pull", "repository:me/app:pull"},
		{"plugin", "repository(plugin):me/app:pull", "repository(plugin):me/app:pull"},
		{"prefix stripped", "repository:app:pull", "repository:app:pull"},
		{"library in front", "repository:library/me/app:pull", "repository:library/me/app:pull"},
		{"second of two", "repository:other:pull repository(x):me/app:pull", "repository(x):me/app:pull"},
		// ggcr #2337, scope pollution: nothing else, and nothing more.
		{"push too", "repository:me/app:push,pull", "repository:me/app:pull"},
		{"push only", "repository:me/app:push", "repository:me/app:pull"},
		{"other repository", "repository:me/secret:pull", "repository:me/app:pull"},
		{"part of a component", "repository:pp:pull", "repository:me/app:pull"},
		{"longer than ours", "repository:x/me/app:pull", "repository:me/app:pull"},
		{"catalog", "registry:catalog:*", "repository:me/app:pull"},
		{"opaque, as public.ecr.aws", "aws", "repository:me/app:pull"},
		{"other class", "repositoryx:me/app:pull", "repository:me/app:pull"},
		{"empty name", "repository::pull", "repository:me/app:pull"},
		{"wildcard", "repository:*:pull", "repository:me/app:pull"},
	} {
		n := granting(60)
		s := source(t, hub, n, nil)
		learn(t, s, "me/app", hubAuth+`,scope="`+tt.offered+`"`)
		header(t, s, "me/app")
		if got := n.seen[0].URL.Query()["scope"]; !cmp.Equal(got, []string{tt.want}) {
			t.Errorf("%s: asked for %q; want %q", tt.name, got, tt.want)
		}
		if got := s.key(s.known(), "me/other").scope; got != "repository:me/other:pull" {
			t.Errorf("%s: another repository is asked for as %q", tt.name, got)
		}
	}
}

func TestRealmKeepsItsQuery(t *testing.T) {
	t.Parallel()
	n := granting(60)
	s := source(t, hub, n, nil)
	learn(t, s, "a/b", `Bearer realm="https://auth.docker.io/token?x=1;y&z#frag",service="s p"`)
	header(t, s, "a/b")
	want := []string{"GET https://auth.docker.io/token?x=1;y&z&scope=repository%3Aa%2Fb%3Apull&service=s+p"}
	if diff := cmp.Diff(want, n.ledger()); diff != "" {
		t.Errorf("token calls (-want +got):\n%s", diff)
	}
}

// TestHeadersGoToTheOwnOriginOnly: a relay's shared secret opens its token
// endpoint too, and no other host's.
func TestHeadersGoToTheOwnOriginOnly(t *testing.T) {
	t.Parallel()
	secret := func(c *Config) { c.Headers = map[string]pullchain.Secret{"X-Relay-Key": canary} }
	for realm, want := range map[string]string{
		"https://relay.me.workers.dev/v2/auth":     canary,
		"https://relay.me.workers.dev:443/v2/auth": canary,
		"https://other.me.workers.dev/v2/auth":     "",
		"https://auth.docker.io/token":             "",
	} {
		n := granting(60)
		s := source(t, "https://relay.me.workers.dev", n, secret)
		learn(t, s, "a/b", `Bearer realm="`+realm+`"`)
		header(t, s, "a/b")
		if got := n.seen[0].Header.Get("X-Relay-Key"); got != want {
			t.Errorf("%s: X-Relay-Key %q; want %q", realm, got, want)
		}
	}
}

func TestMayLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		origin, realm string
		authHosts     []string
		want          bool
	}{
		{hub, "https://auth.docker.io/token", nil, true},
		{hub, "https://AUTH.Docker.IO./token", nil, true},
		{"https://ghcr.io", "https://ghcr.io/token", nil, true},
		{"https://registry.gitlab.com", "https://gitlab.com/jwt/auth", nil, true},
		{"https://a.example.co.uk", "https://auth.example.co.uk/", nil, true},
		{"https://h.example.com", "https://h.example.com:8443/", nil, true},
		{"http://10.0.0.5:5000", "http://10.0.0.5:5000/service/token", nil, true},
		{"http://10.0.0.5", "http://10.0.0.5:80/service/token", nil, true},
		{"http://10.0.0.5:5000", "https://10.0.0.5:5001/service/token", nil, true},
		{"http://10.0.0.5:5000", "http://10.0.0.5:5001/service/token", nil, false}, // another program, in the clear
		{"http://10.0.0.5:5000", "http://10.0.0.5/service/token", nil, false},
		{"http://10.0.0.5:5000", "http://10.0.0.5:5001/service/token", []string{"10.0.0.5"}, false},
		{"http://10.0.0.5:5000", "http://10.0.0.5:5001/service/token", []string{"10.0.0.5:5001"}, false},
		{"http://10.0.0.5:5000", "http://10.0.0.5:5001/service/token", []string{"HTTP://10.0.0.5:5001"}, true},
		{"http://10.0.0.5:5000", "http://10.0.0.5:5002/service/token", []string{"http://10.0.0.5:5001"}, false},
		{"http://10.0.0.5:5000", "https://auth.example:5001/", []string{"http://auth.example:5001"}, false},
		{"http://[fd00::5]", "http://[fd00::6]:5001/", []string{"http://[fd00::6]:5001"}, true},
		{"https://[fd00::5]", "https://[fd00::6]/", []string{"[fd00::6]"}, true},
		{"http://r.example.com", "https://auth.example.com/", nil, true},
		{hub, "https://auth.docker.com/token", nil, false},
		{hub, "https://docker.io.evil.example/token", nil, false},
		{hub, "https://evil-docker.io/token", nil, false},
		{"https://a.example.co.uk", "https://auth.other.co.uk/", nil, false},
		{"https://a.workers.dev", "https://b.workers.dev/", nil, false},
		{"https://10.0.0.5", "https://192.168.0.5/", nil, false}, // "0.5" is no domain
		{"https://[fd00::5]", "https://[fd00::6]/", nil, false},
		{"https://r.ns1.svc.cluster.local", "https://x.ns2.svc.cluster.local/", nil, false}, // another tenant
		{"https://registry", "https://auth/", nil, false},
		{"http://r.example.com", "http://auth.example.com/", nil, false}, // in the clear to another host
		{"https://relay.example", "https://auth.docker.io/token", []string{"Auth.Docker.io"}, true},
		{"https://relay.example", "https://auth.docker.io/token", []string{"auth.docker.io:443"}, true},
		{"https://relay.example", "https://auth.docker.io:8443/", []string{"auth.docker.io:443"}, false},
		{"https://relay.example", "https://x.auth.docker.io/", []string{"auth.docker.io"}, false},
		{"http://10.0.0.5", "http://10.0.0.6/token", []string{"10.0.0.6"}, false},
		{"http://10.0.0.5", "http://10.0.0.6/token", []string{"http://10.0.0.6"}, true},
	} {
		s := source(t, tt.origin, granting(60), func(c *Config) { login(c); c.AuthHosts = tt.authHosts })
		realm, err := url.Parse(tt.realm)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.mayLogin(realm); got != tt.want {
			t.Errorf("%s named %s (auth_hosts %q): login goes there: %t; want %t", tt.origin, tt.realm, tt.authHosts, got, tt.want)
		}
	}
}

// TestRealmMayChange: a registry that moves its token server is followed at the
// next 401, and old tokens are not taken for new ones.
func TestRealmMayChange(t *testing.T) {
	t.Parallel()
	n := granting(600)
	s := source(t, hub, n, nil)
	learn(t, s, "a/b", hubAuth)
	header(t, s, "a/b")
	learn(t, s, "a/b", `Bearer realm="https://auth2.docker.io/token",service="registry.docker.io"`)
	if got := header(t, s, "a/b"); got != "Bearer t2" {
		t.Errorf("header %q; want the new token server's", got)
	}
}

func TestNilClientIsADirectOne(t *testing.T) {
	t.Parallel()
	s := New(Config{Origin: &url.URL{Scheme: "https", Host: "registry.example"}})
	transport, ok := s.client.Transport.(*http.Transport)
	if !ok || transport.Proxy != nil {
		t.Errorf("transport %T; want a direct one of egress, never the process's proxy", s.client.Transport)
	}
}
