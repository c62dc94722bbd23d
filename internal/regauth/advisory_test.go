package regauth

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
)

// Each test here is an advisory of docs/faults.md 5, or a fault that is one.

// TestCVE_2026_33540_RealmOffDomainGetsNoPassword: distribution's pull-through
// proxy sent its password to whatever realm a registry named.
func TestCVE_2026_33540_RealmOffDomainGetsNoPassword(t *testing.T) {
	t.Parallel()
	n := granting(60)
	s := source(t, hub, n, login)
	learn(t, s, "a/b", `Bearer realm="https://evil.example/token",service="registry.docker.io"`)
	if got := header(t, s, "a/b"); got != "Bearer t1" {
		t.Errorf("header %q; want an anonymous token", got)
	}
	for _, req := range n.seen {
		for name, values := range req.Header {
			if text := strings.Join(values, " "); strings.Contains(text, canary) || strings.Contains(text, basic.Reveal()[6:]) || name == "Authorization" {
				t.Errorf("%s got %s: %q", req.URL.Host, name, values)
			}
		}
		if strings.Contains(req.URL.String(), "alice") {
			t.Errorf("%s got the user name", req.URL)
		}
	}
	if w := s.known(); w.realm.Host != "evil.example" || w.login {
		t.Errorf("realm %q, login %t; want the login withheld", w.realm.Host, w.login)
	}
	denied := answering(401, "")
	s = source(t, hub, denied, login)
	learn(t, s, "a/b", `Bearer realm="https://evil.example/token"`)
	_, err := s.Header(t.Context(), "a/b")
	if err == nil || !strings.Contains(err.Error(), `the login is not for "evil.example" unless auth_hosts names it`) {
		t.Errorf("%v; want the error to say why the login was withheld", err)
	}
}

// TestCVE_2026_48978_RealmInward: a realm on loopback or a metadata service.
func TestCVE_2026_48978_RealmInward(t *testing.T) {
	t.Parallel()
	for _, realm := range []string{
		"https://127.0.0.1/token", "https://169.254.169.254/latest/meta-data/iam", "http://169.254.169.254/", "https://[::1]/", "https://10.0.0.1/",
		"https://[::ffff:169.254.169.254]/", "https://2130706433/", "https://localhost/", "https://metadata.google.internal/",
		"https://auth.docker.io:22/", "https://u:p@auth.docker.io/", "https://", "/token", "token", "file:///etc/passwd", "https://a b/", "https://x/%zz",
		"https://auth.docker.io/" + strings.Repeat("x", maxRealm),
	} {
		n := granting(60)
		s := source(t, hub, n, login)
		err := s.Learn(challenge(t, hub, "", `Bearer realm="`+realm+`"`), "a/b")
		checkError(t, "realm "+realm[:min(len(realm), 50)], err, pullchain.Refused, pullchain.CodeAuthRealm, 401)
		if got := header(t, s, "a/b"); got != "" || n.calls() != 0 {
			t.Errorf("%.50s: header %q, requests %q; want none", realm, got, n.ledger())
		}
		if err := s.Learn(challenge(t, hub, "", `Bearer realm="`+realm+`"`), ""); pullchain.ReasonOf(err) != pullchain.Refused {
			t.Errorf("%.50s, from a probe: %v; want Refused", realm, err)
		}
	}
}

// TestCVE_2026_48978_TokenRedirectInward: the realm is fine, and redirects to
// where it must not.
func TestCVE_2026_48978_TokenRedirectInward(t *testing.T) {
	t.Parallel()
	for _, location := range []string{
		"https://169.254.169.254/latest/", "http://auth.docker.io/token", "https://127.0.0.1/", "//10.0.0.1/", "https://[::1]:8500/", "gopher://x/", "", "https://u@x.example/",
	} {
		n := answering(307, "", "Location", location)
		s := source(t, hub, n, login)
		learn(t, s, "a/b", hubAuth)
		_, err := s.Header(t.Context(), "a/b")
		checkError(t, "Location "+location, err, pullchain.Refused, pullchain.CodeAuthRealm, 307)
		if n.calls() != 1 {
			t.Errorf("%s: requests %q; want the first only", location, n.ledger())
		}
	}
}

// TestCVE_2023_45289_TokenRedirectCarriesNothing: Go's own client would keep
// the login for a subdomain or another port, and headers for every host.
func TestCVE_2023_45289_TokenRedirectCarriesNothing(t *testing.T) {
	t.Parallel()
	hops := map[string]string{
		"/token":  "https://sub.auth.docker.io/second",
		"/second": "https://registry-1.docker.io/third",
		"/third":  "/fourth",
	}
	n := &internet{answer: func(req *http.Request) *http.Response {
		if next, ok := hops[req.URL.Path]; ok {
			return reply(302, "", "Location", next, "Set-Cookie", "a=b")
		}
		return reply(200, `{"token":"t"}`)
	}}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := source(t, hub, n, func(c *Config) {
		login(c)
		c.Headers = map[string]pullchain.Secret{"X-Key": canary}
		c.Client.Jar = jar
	})
	learn(t, s, "a/b", hubAuth)
	if got := header(t, s, "a/b"); got != "Bearer t" {
		t.Errorf("header %q", got)
	}
	want := []string{
		"GET https://auth.docker.io/token?scope=repository%3Aa%2Fb%3Apull&service=registry.docker.io +login",
		"GET https://sub.auth.docker.io/second",
		"GET https://registry-1.docker.io/third",
		"GET https://registry-1.docker.io/fourth",
	}
	if diff := cmp.Diff(want, n.ledger()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for _, req := range n.seen[1:] {
		if len(req.Header) != 2 || req.Header.Get("Accept") == "" || req.Header.Get("User-Agent") == "" {
			t.Errorf("%s got %v; want Accept and User-Agent alone", req.URL, req.Header)
		}
	}
}

func TestTokenRedirectsEnd(t *testing.T) {
	t.Parallel()
	n := answering(302, "", "Location", "/token")
	s := source(t, hub, n, nil)
	learn(t, s, "a/b", hubAuth)
	_, err := s.Header(t.Context(), "a/b")
	checkError(t, "a loop", err, pullchain.Refused, pullchain.CodeAuthRealm, 302)
	if n.calls() != maxHops+1 {
		t.Errorf("%d requests; want %d", n.calls(), maxHops+1)
	}
}

// TestCVE_2026_49349_OnlyTheOriginIsAnswered: a 401 from a redirected host, or
// from another port of the same one, is no challenge to us.
func TestCVE_2026_49349_OnlyTheOriginIsAnswered(t *testing.T) {
	t.Parallel()
	for _, from := range []string{
		"https://cdn.example/blob", "https://registry-1.docker.io:8443/v2/", "http://registry-1.docker.io/v2/", "https://docker.io/v2/", "https://sub.registry-1.docker.io/",
	} {
		n := granting(60)
		s := source(t, hub, n, login)
		for _, offer := range []string{`Basic realm="x"`, hubAuth} {
			err := s.Learn(challenge(t, from, "", offer), "a/b")
			checkError(t, from, err, pullchain.Refused, pullchain.CodeAuthRealm, 401)
		}
		if got := header(t, s, "a/b"); got != "" || n.calls() != 0 {
			t.Errorf("%s: header %q, requests %q; want nothing learned", from, got, n.ledger())
		}
	}
	s := source(t, hub, granting(60), login)
	if err := s.Learn(challenge(t, "https://REGISTRY-1.docker.io:443/v2/x", "", hubAuth), "a/b"); err != nil {
		t.Errorf("the origin itself, spelled otherwise: %v", err)
	}
}

// TestCVE_2020_15157_ForeignLayerURL: containerd answered the 401 of a host
// that a manifest's urls[] named.
func TestCVE_2020_15157_ForeignLayerURL(t *testing.T) {
	t.Parallel()
	s := source(t, hub, granting(60), login)
	foreign := challenge(t, "https://attacker.example/layer.tar.gz", "", `Basic realm="give"`)
	checkError(t, "foreign layer", s.Learn(foreign, "a/b"), pullchain.Refused, pullchain.CodeAuthRealm, 401)
	without := reply(401, "", "WWW-Authenticate", hubAuth)
	checkError(t, "a 401 of unknown origin", s.Learn(without, "a/b"), pullchain.Refused, pullchain.CodeAuthRealm, 401)
}

// TestGgcr_2349_TokensAreNotMixed: the key of a token is all that it depends
// on, and two credentials share nothing.
func TestGgcr_2349_TokensAreNotMixed(t *testing.T) {
	t.Parallel()
	n := granting(600)
	anonymous, alice := source(t, hub, n, nil), source(t, hub, n, login)
	for _, s := range []*Source{anonymous, alice} {
		learn(t, s, "", hubAuth)
	}
	got := []string{header(t, anonymous, "a/b"), header(t, alice, "a/b"), header(t, alice, "a/c"), header(t, anonymous, "a/b")}
	learn(t, anonymous, "", `Bearer realm="https://auth.docker.io/token",service="other"`)
	got = append(got, header(t, anonymous, "a/b"))
	if diff := cmp.Diff([]string{"Bearer t1", "Bearer t2", "Bearer t3", "Bearer t1", "Bearer t4"}, got); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}

// TestCVE_2023_2253_ReplyIsBounded: an endless reply costs 128 KiB, not memory.
func TestCVE_2023_2253_ReplyIsBounded(t *testing.T) {
	t.Parallel()
	for size, fits := range map[int]bool{100 << 10: true, maxReply + 1: false, 8 << 20: false} {
		body := `{"token":"t","pad":"` + strings.Repeat("x", size) + `"}`
		reader := strings.NewReader(body)
		n := &internet{answer: func(*http.Request) *http.Response {
			resp := reply(200, "")
			resp.Body = struct {
				*strings.Reader
				nopCloser
			}{reader, nopCloser{}}
			return resp
		}}
		s := source(t, hub, n, nil)
		learn(t, s, "", hubAuth)
		_, err := s.Header(t.Context(), "a/b")
		if fits != (err == nil) {
			t.Errorf("%d bytes: %v; want it to pass: %t", size, err, fits)
		}
		if !fits && !strings.Contains(err.Error(), "larger than 131072 bytes") {
			t.Errorf("%d bytes: %v; want the error to name the limit", size, err)
		}
		if read := len(body) - reader.Len(); read > 2*maxReply {
			t.Errorf("read %d bytes of %d", read, len(body))
		}
	}
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// TestCVE_2025_48374_NoSecretInErrors: what the token server repeats of our
// login, and the query of its URL, stay out of errors.
func TestCVE_2025_48374_NoSecretInErrors(t *testing.T) {
	t.Parallel()
	for _, n := range []*internet{
		answering(401, "wrong password "+canary), answering(500, canary), answering(200, canary), answering(200, `{"token":"`+canary+`\n"}`),
		answering(302, "", "Location", "https://10.0.0.1/?"+canary),
		{answer: func(*http.Request) *http.Response { return nil }, fail: &net.OpError{Op: "read", Err: net.ErrClosed}},
	} {
		s := source(t, hub, n, login)
		learn(t, s, "", `Bearer realm="https://auth.docker.io/token?key=`+canary+`"`)
		_, err := s.Header(t.Context(), "a/b")
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%v; want an error without the secret", err)
		}
	}
}

// TestF15_SecondRefusal: a registry that refuses fresh tokens costs one token
// call a request, and its login is not tried over and over.
func TestF15_SecondRefusal(t *testing.T) {
	t.Parallel()
	n := granting(300)
	s := source(t, hub, n, login)
	learn(t, s, "", hubAuth)
	for request := 1; request <= 3; request++ {
		first := pullchain.Secret(header(t, s, "a/b"))
		s.Reject("a/b", first)
		if err := s.Learn(challenge(t, hub, first, hubAuth), "a/b"); err != nil {
			t.Fatal(err)
		}
		header(t, s, "a/b") // its 401 is the upstream's last word
		if n.calls() != request+1 {
			t.Errorf("%d token calls after %d requests; want one each and the first", n.calls(), request)
		}
	}
}

// TestF24_RealmDowngrade: https never leads to http; an http registry's own
// realm may be http.
func TestF24_RealmDowngrade(t *testing.T) {
	t.Parallel()
	s := source(t, hub, granting(60), login)
	err := s.Learn(challenge(t, hub, "", `Bearer realm="http://auth.docker.io/token"`), "a/b")
	checkError(t, "downgrade", err, pullchain.Refused, pullchain.CodeAuthRealm, 401)

	n := granting(60)
	s = source(t, "http://10.0.0.5:5000", n, login)
	learn(t, s, "a/b", `Bearer realm="http://10.0.0.5:5000/token"`)
	header(t, s, "a/b")
	if diff := cmp.Diff([]string{"GET http://10.0.0.5:5000/token?scope=repository%3Aa%2Fb%3Apull +login"}, n.ledger()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestF42_TokenCallBehindADeadEgress: the way out is at fault, not the token
// server; and the guard's word at the dial is a refusal.
func TestF42_TokenCallBehindADeadEgress(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken, err := net.Dial("tcp", ln.Addr().String()) // so that no other program is given the port
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, scheme := range []string{"http://", "socks5://"} {
		transport, err := egress.NewTransport(egress.TransportConfig{Egress: egress.Config{URL: scheme + taken.LocalAddr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		s := source(t, hub, nil, func(c *Config) { c.Client = &http.Client{Transport: transport} })
		learn(t, s, "", hubAuth)
		_, err = s.Header(t.Context(), "a/b")
		checkError(t, scheme, err, pullchain.Egress, pullchain.CodeEgressProxy, 0)
	}
}

// TestF23_RealmThatResolvesInward: a fine name with a bad address is stopped at
// the dial.
func TestF23_RealmThatResolvesInward(t *testing.T) {
	t.Parallel()
	refusal := &pullchain.Error{Reason: pullchain.Refused, Code: pullchain.CodeRedirectBlocked}
	n := &internet{answer: func(*http.Request) *http.Response { return nil }, fail: &net.OpError{Op: "dial", Err: refusal}}
	s := source(t, hub, n, nil)
	learn(t, s, "", `Bearer realm="https://rebind.example/token"`)
	_, err := s.Header(t.Context(), "a/b")
	checkError(t, "refused at the dial", err, pullchain.Refused, pullchain.CodeAuthRealm, 0)
}
