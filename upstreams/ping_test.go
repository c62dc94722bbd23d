package upstreams_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// TestPing: what proves that a registry is there, and what does not (docs/faults.md
// F26, docs/protocol.md 4.8).
func TestPing(t *testing.T) {
	t.Parallel()
	const html = "<!DOCTYPE html><html><body>Please sign in</body></html>"
	kind := func(s string) map[string]string { return map[string]string{"Content-Type": s} }
	version := map[string]string{"Docker-Distribution-Api-Version": "registry/2.0", "Content-Type": "text/plain"}
	tests := map[string]struct {
		status int
		header map[string]string
		body   string
		reason pullchain.Reason
		code   pullchain.Code // "": it is a registry
	}{
		"version header":         {status: 200, header: version},
		"JSON object":            {status: 200, header: kind("application/json"), body: "{}"},
		"empty":                  {status: 200},
		"true, as of Quay":       {status: 200, header: kind("text/plain"), body: "true"},
		"Bearer challenge":       {status: 401, header: map[string]string{"WWW-Authenticate": `Bearer realm="https://auth.docker.io/token",service="registry.docker.io"`}, body: "{}"},
		"Basic challenge":        {status: 401, header: map[string]string{"WWW-Authenticate": `Basic realm="Registry"`}},
		"page":                   {200, kind("text/html"), html, pullchain.Corrupt, pullchain.CodeNotRegistry},
		"page without a type":    {200, kind(""), html, pullchain.Corrupt, pullchain.CodeNotRegistry},
		"page behind a BOM":      {200, kind("text/plain"), "\uFEFF\n <html>", pullchain.Corrupt, pullchain.CodeNotRegistry},
		"page with the header":   {200, map[string]string{"Docker-Distribution-Api-Version": "registry/2.0", "Content-Type": "text/html"}, html, pullchain.Corrupt, pullchain.CodeNotRegistry},
		"text":                   {200, kind("text/plain"), "It works!", pullchain.Corrupt, pullchain.CodeNotRegistry},
		"401 without challenge":  {401, nil, "", pullchain.Corrupt, pullchain.CodeNotRegistry},
		"401 of a portal":        {401, kind("text/html"), html, pullchain.Corrupt, pullchain.CodeNotRegistry},
		"Bearer without realm":   {401, map[string]string{"WWW-Authenticate": `Bearer error="x"`}, "", pullchain.Corrupt, pullchain.CodeNotRegistry},
		"Negotiate":              {401, map[string]string{"WWW-Authenticate": "Negotiate"}, "", pullchain.Corrupt, pullchain.CodeNotRegistry},
		"404":                    {404, nil, "", pullchain.Unavailable, pullchain.CodeNotRegistry},
		"404 of a registry":      {404, nil, `{"errors":[{"code":"NAME_UNKNOWN"}]}`, pullchain.NotFound, pullchain.CodeNotFound},
		"403":                    {403, nil, "", pullchain.Denied, pullchain.CodeForbidden},
		"403 of a block page":    {403, kind("text/html"), html, pullchain.Unavailable, pullchain.CodeNotRegistry},
		"500":                    {500, nil, "", pullchain.Unavailable, pullchain.CodeServerError},
		"429":                    {429, kind("text/plain"), "Too Many Requests (HAP429).\n", pullchain.Limited, pullchain.CodeAbuse},
		"530":                    {530, map[string]string{"Server": "cloudflare"}, html, pullchain.Unavailable, pullchain.CodeOriginDown},
		"204":                    {204, nil, "", pullchain.Unavailable, pullchain.CodeUnexpected},
		"realm of the metadata":  {401, map[string]string{"WWW-Authenticate": `Bearer realm="http://169.254.169.254/token"`}, "", pullchain.Refused, pullchain.CodeAuthRealm},
		"redirect to a metadata": {307, map[string]string{"Location": "http://169.254.169.254/"}, "", pullchain.Refused, pullchain.CodeRedirectBlocked},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true})
			s := r.origin("it", answering(tt.status, tt.header, tt.body))
			u := r.upstream(t, func(c *upstreams.Config) { c.URL = s.URL() })
			err := u.Ping(t.Context())
			switch {
			case tt.code != "":
				expectError(t, err, tt.reason, tt.code)
			case err != nil:
				t.Error(err)
			}
			if got := r.Ledger().Find(simnet.Filter{Server: "it"}); len(got) != 1 || got[0].Path != "/v2/" || got[0].Method != http.MethodGet {
				t.Errorf("asked %+v, want one GET of /v2/", got)
			}
		})
	}
}

// TestPingAsksNoToken: a probe costs one request, and sends no login.
func TestPingAsksNoToken(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	u := r.upstream(t, withSecrets)
	for range 3 {
		if err := u.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.count(simnet.Filter{Server: "hub-auth"}); n != 0 {
		t.Errorf("%d token calls", n)
	}
	if n := r.count(simnet.Filter{Server: "hub", Class: simnet.Ping}); n != 3 {
		t.Errorf("%d pings, want 3", n)
	}
	if leaks := r.Ledger().Leaks("marker-password"); len(leaks) > 0 {
		t.Errorf("a probe sent the login: %+v", leaks[0])
	}
}

// TestPingStall: a body that never comes does not hold a probe.
func TestPingStall(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	defer r.hub.Inject(simnet.Fault{Cut: simnet.EndStall, CutAt: 0, LengthShift: 10})()
	u := r.upstream(t, func(c *upstreams.Config) { c.Timeouts.Stall = 100 * time.Millisecond })
	expectError(t, u.Ping(within(t, ioPatience)), pullchain.Unavailable, pullchain.CodeStall)
}

// TestPingBasePath: a mirror below a path is asked there.
func TestPingBasePath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/docker.io/v2": "/docker.io/v2/", "/project": "/v2/", "": "/v2/"} {
		r := newRig(t, simnet.HubConfig{Open: true})
		s := r.origin("it", answering(200, nil, "{}"))
		u := r.upstream(t, func(c *upstreams.Config) { c.URL = s.URL() + path })
		if err := u.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if got := r.Ledger().Find(simnet.Filter{Server: "it"}); len(got) != 1 || got[0].Path != want {
			t.Errorf("%q: asked %+v, want %s", path, got, want)
		}
	}
}
