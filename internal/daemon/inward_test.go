package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// inwardNames are names that a proxy finds private addresses for, and we do not.
var inwardNames = []string{
	"minio", "minio.local", "nas.lan", "nas.home", "nas.home.arpa", "git.corp", "wiki.intranet", "s3.eu.internal", "redis.default.svc",
	"redis.default.svc.cluster.local", "app.localhost", "10-0-0-1.nip.io", "10.0.0.1.sslip.io", "10.0.0.1.xip.io", "app.traefik.me", "localtest.me", "lvh.me",
}

// A behindProxy is a chain of a registry behind a proxy, with a login, before a direct
// mirror; and a server within the proxy's network, by all inwardNames.
type behindProxy struct {
	*rig
	hub    *simnet.Hub
	inward *simnet.Mirror
	image  *simnet.Content
	secret string
}

func newBehindProxy(t *testing.T, kind, keys string) *behindProxy {
	t.Helper()
	n := newNet(t)
	x := &behindProxy{image: n.Build(alpine), secret: "marker-of-the-login"}
	proxy := proxies[kind](n, simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy"}})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(x.secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	images := []simnet.Image{alpine}
	x.hub = n.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "hub", ByName: true}, Images: images, Direct: true,
		Auth: simnet.AuthConfig{Users: map[string]string{"robot": x.secret}},
	})
	x.inward = n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "inward", Hosts: inwardNames}, Images: images})
	b := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "b"}, Images: images})
	x.rig = newRig(t, rigConfig{
		Net: n, Top: fmt.Sprintf("[egress.tunnel]\nurl = %q\n", proxy.URL()),
		Chain: []lane{
			{Name: "hub", URL: x.hub.NameURL(), Guard: true,
				Keys: fmt.Sprintf("egress = \"tunnel\"\nusername = \"robot\"\npassword_file = %q\nauth_hosts = [\"auth.hub.sim\"]\n%s", file, keys)},
			{Name: "b", URL: b.URL()},
		},
	})
	return x
}

// wantNothingInward fails the test if the server within saw a connection, or anything but
// the registry and its own token server saw the login.
func (x *behindProxy) wantNothingInward() {
	x.t.Helper()
	x.wantUntouched(x.inward.Server)
	for _, leak := range x.net.Ledger().Leaks(x.secret, "hub", "hub-auth") {
		x.t.Errorf("the login went to %s: %s %s", leak.Server, leak.Method, leak.Path)
	}
}

// F54 Behind a proxy no redirect and no realm leads to a name that is private there: no request
// gets as far, the next lane serves, and the error has the name and the setting.
func TestF54_InwardNamesBehindAProxy(t *testing.T) {
	t.Parallel()
	for kind := range proxies {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			x := newBehindProxy(t, kind, "")
			layer, content := x.image.Layer(0)
			path := x.image.BlobPath(layer.Digest)
			x.wantServedBy(x.wantBytes(x.image.Path(), x.image.Manifest()), "hub")
			x.wantServedBy(x.wantBytes(path, content), "hub")
			for _, name := range inwardNames {
				fault := simnet.RedirectTo("https://" + name + path)
				fault.On = simnet.Blobs
				undo := x.hub.Inject(fault)
				got := x.wantBytes(path, content)
				x.wantServedBy(got, "b")
				x.wantCode(got, "hub", pullchain.CodeRedirectBlocked)
				last := x.lane("hub").LastError
				if last == nil || !strings.Contains(last.Text, name) || !strings.Contains(last.Text, "redirect_hosts") {
					t.Errorf("%s: told %+v, want the name and redirect_hosts", name, last)
				}
				undo()
				x.hub.Auth.ExpireTokens()
				x.hub.SetRealm("https://" + name + "/token")
				got = x.wantBytes(x.image.Path(), x.image.Manifest())
				x.wantServedBy(got, "b")
				x.wantCode(got, "hub", pullchain.CodeAuthRealm)
				if last := x.lane("hub").LastError; last == nil || !strings.Contains(last.Text, name) || !strings.Contains(last.Text, "auth_hosts") {
					t.Errorf("%s: told %+v, want the name and auth_hosts", name, last)
				}
				x.hub.SetRealm("")
			}
			x.wantNothingInward()
		})
	}
}

// F54 Nor does a redirect of the token server lead there.
func TestF54_TokenServerRedirectsInward(t *testing.T) {
	t.Parallel()
	for kind := range proxies {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			x := newBehindProxy(t, kind, "")
			x.hub.Auth.Inject(simnet.RedirectTo("https://10-0-0-1.nip.io/token"))
			x.wantServedBy(x.wantBytes(x.image.Path(), x.image.Manifest()), "b")
			x.wantNothingInward()
		})
	}
}

// F54 What the operator has named is followed: redirect_hosts is the way out, and says what
// else may be.
func TestF54_RedirectHostsIsTheWayOut(t *testing.T) {
	t.Parallel()
	for kind := range proxies {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			x := newBehindProxy(t, kind, `redirect_hosts = ["*.lan", "10-0-0-1.nip.io"]`)
			layer, content := x.image.Layer(0)
			path := x.image.BlobPath(layer.Digest)
			for _, name := range []string{"nas.lan", "10-0-0-1.nip.io"} {
				fault := simnet.RedirectTo("https://" + name + path)
				fault.On = simnet.Blobs
				undo := x.hub.Inject(fault)
				x.wantServedBy(x.wantBytes(path, content), "hub")
				undo()
			}
			x.wantAsked("inward", http.MethodGet, simnet.Blobs, 2)
			fault := simnet.RedirectTo("https://10.0.0.1.sslip.io" + path)
			fault.On = simnet.Blobs
			x.hub.Inject(fault)
			x.wantServedBy(x.wantBytes(path, content), "b")
			x.wantAsked("inward", http.MethodGet, simnet.Blobs, 2)
			for _, leak := range x.net.Ledger().Leaks(x.secret, "hub", "hub-auth") {
				t.Errorf("the login went to %s", leak.Server)
			}
		})
	}
}

// F54 The login of a plain http registry goes to no other port in the clear, unless that very
// address was typed.
func TestF54_RealmOfAnotherPortInTheClear(t *testing.T) {
	t.Parallel()
	const secret = "marker-of-the-login"
	for name, typed := range map[string]bool{"named by the registry": false, "typed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNet(t)
			image := n.Build(alpine)
			auth := n.AddAuth(simnet.AuthConfig{Origin: simnet.Origin{Name: "other-port", Plain: true}, Users: map[string]string{"robot": secret}, Private: []string{alpine.Repo}})
			hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub", Plain: true}, Images: []simnet.Image{alpine}, Direct: true})
			hub.SetRealm(auth.Realm())
			b := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "b"}, Images: []simnet.Image{alpine}})
			file := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			keys := fmt.Sprintf("username = \"robot\"\npassword_file = %q\n", file)
			if typed {
				keys += fmt.Sprintf("auth_hosts = [%q]\n", auth.URL())
			}
			r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: hub.URL(), Keys: keys}, {Name: "b", URL: b.URL()}}})
			r.wantBytes(image.Path(), image.Manifest())
			leaks := n.Ledger().Leaks(secret)
			switch {
			case !typed && len(leaks) > 0:
				t.Errorf("the login went to %s in the clear", leaks[0].Server)
			case typed && (len(leaks) == 0 || leaks[0].Server != "other-port"):
				t.Errorf("the login did not go to the token server that was typed: %+v", leaks)
			}
		})
	}
}
