package daemon_test

import (
	"net/http"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A toldFault is one thing that goes wrong, for TestWhatPeopleAreTold.
type toldFault struct {
	name    string
	row     string // of docs/faults.md 8
	ask     string // "blob" or "digest"; unset: a manifest by its tag
	hub     bool   // it takes a registry with a token server and a CDN, where a mirror has neither
	keys    string // TOML keys of the upstream
	url     string // of the upstream, in the place of the server's
	times   string // its time-outs, where silence has to be waited for: short ones would break others
	proxied bool   // the upstream is behind a proxy
	passes  bool   // by itself, within a second: there is no state to look at
	play    func(*toldSite)
}

// A toldSite is the upstream that the fault befalls.
type toldSite struct {
	*simnet.Server
	hub    *simnet.Hub
	proxy  *simnet.Proxy
	images []*simnet.Content
	forget func(repo string)
}

// breaks is a fault of connections.
func breaks(how simnet.ConnFault) func(*toldSite) {
	return func(s *toldSite) { s.Break(how) }
}

// injects is a fault of answers.
func injects(f simnet.Fault) func(*toldSite) { return func(s *toldSite) { s.Inject(f) } }

// content is where images are, and not whether a registry is there.
const content = simnet.Manifests | simnet.Blobs

// cdn is a fault of the CDN's answers.
func cdn(f simnet.Fault) func(*toldSite) { return func(s *toldSite) { s.hub.CDN.Inject(f) } }

func on(class simnet.Class, f simnet.Fault) simnet.Fault {
	f.On = class
	return f
}

var toldFaults = []toldFault{
	{name: "connection refused", row: "F01", play: breaks(simnet.ConnRefused)},
	{name: "packets are dropped", row: "F02", times: `connect = "2s"`, play: breaks(simnet.ConnBlackhole)},
	{name: "connected, then silence", row: "F02", times: `connect = "2s"`, play: breaks(simnet.ConnSilent)},
	{name: "connection reset", row: "F01", play: breaks(simnet.ConnReset)},
	{name: "connection closed at once", row: "F01", play: breaks(simnet.ConnClose)},
	{name: "the name does not resolve", row: "F03", url: "https://registry.invalid", play: func(*toldSite) {}},
	{name: "certificate expired", row: "F04", play: breaks(simnet.ConnExpiredCert)},
	{name: "certificate of another host", row: "F04", play: breaks(simnet.ConnWrongHost)},
	{name: "certificate of an unknown authority", row: "F04", play: breaks(simnet.ConnUnknownCA)},
	{name: "no TLS where TLS should be", row: "F04", play: breaks(simnet.ConnNotTLS)},
	{name: "headers do not come in time", row: "F05", times: `header = "1s"`, play: injects(simnet.Fault{On: content, Drop: simnet.EndStall})},
	{name: "429 that says when", row: "F06", play: injects(on(content, simnet.TooManyAfter(10*time.Minute, false)))},
	{name: "429 that says nothing", row: "F07", play: injects(on(content, simnet.TooMany()))},
	{name: "GHCR's 429", row: "F07", passes: true, play: injects(on(content, simnet.GHCR429()))},
	{name: "Docker Hub's pull quota is spent", row: "F08", play: injects(simnet.HubQuota429())},
	{name: "Docker Hub's abuse limit", row: "F09", play: injects(on(content, simnet.HAP429()))},
	{name: "Cloudflare's rate limit (1015)", row: "F09", play: injects(on(content, simnet.Cloudflare1015()))},
	{name: "a Worker's day is spent (1027)", row: "F10", play: injects(on(content, simnet.Cloudflare1027()))},
	{name: "500", row: "F11", play: injects(simnet.Fault{On: content, Status: 500})},
	{name: "502", row: "F12", play: injects(simnet.Fault{On: content, Status: 502})},
	{name: "503", row: "F12", play: injects(simnet.Fault{On: content, Status: 503})},
	{name: "503 that says when", row: "F12", play: injects(simnet.Fault{On: content, Status: 503, Header: map[string]string{"Retry-After": "600"}})},
	{name: "504", row: "F12", play: injects(simnet.Fault{On: content, Status: 504})},
	{name: "Cloudflare cannot reach the origin (522)", row: "F13", play: injects(on(content, simnet.Cloudflare(522, "522")))},
	{name: "Cloudflare finds no origin (530)", row: "F13", play: injects(on(content, simnet.Cloudflare(530, "1016")))},
	{name: "the CDN refuses its own signed link", row: "F14", ask: "blob", hub: true, play: cdn(simnet.ExpiredURL())},
	{name: "the CDN answers 503", row: "F14", ask: "blob", hub: true, play: cdn(simnet.Fault{Status: 503})},
	{name: "the CDN is down", row: "F14", ask: "blob", hub: true, play: func(s *toldSite) { s.hub.CDN.Break(simnet.ConnRefused) }},
	{name: "401 to every token", row: "F15", hub: true, play: func(s *toldSite) { s.hub.RejectTokens(true) }},
	{name: "the token server is down", row: "F15", hub: true, play: func(s *toldSite) { s.hub.Auth.Break(simnet.ConnRefused) }},
	{name: "the token server answers 500", row: "F15", hub: true, play: func(s *toldSite) { s.hub.Auth.Inject(simnet.Fault{Status: 500}) }},
	{name: "the token server refuses us", row: "F15", hub: true, play: func(s *toldSite) { s.hub.Auth.Inject(simnet.Fault{Status: 403}) }},
	{name: "403", row: "F15", play: injects(simnet.Fault{On: content, Status: 403})},
	{name: "no such image", row: "F16", play: func(s *toldSite) {
		for _, image := range s.images {
			s.forget(image.Image.Repo)
		}
	}},
	{name: "404 of a web server", row: "F16", play: injects(simnet.Fault{On: content, Status: 404, Body: "<html><body>nginx</body></html>", Header: map[string]string{"Content-Type": "text/html"}})},
	{name: "a blob is cut", row: "F18", ask: "blob", play: injects(simnet.Fault{On: simnet.Blobs, Cut: simnet.EndFIN, CutFraction: 0.4})},
	{name: "a blob's length is wrong", row: "F19", ask: "blob", play: injects(simnet.Fault{On: simnet.Blobs, LengthShift: -100})},
	{name: "wrong bytes in a blob", row: "F20", ask: "blob", play: injects(simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: 1000})},
	{name: "wrong bytes in a manifest", row: "F20", ask: "digest", play: injects(simnet.Fault{On: simnet.Manifests, Flip: true, FlipAt: 100})},
	{name: "a blob stalls", row: "F21", ask: "blob", times: `stall = "1s"`, play: injects(simnet.Fault{On: simnet.Blobs, Cut: simnet.EndStall, CutAt: 500})},
	{name: "redirected in a circle", row: "F22", play: injects(on(content, simnet.RedirectLoop()))},
	{name: "redirected on and on", row: "F22", play: injects(on(content, simnet.RedirectChain()))},
	{name: "redirected to a metadata service", row: "F23", play: injects(on(content, simnet.RedirectTo("https://169.254.169.254/latest/")))},
	{name: "redirected from https to http", row: "F24", play: injects(on(content, simnet.RedirectTo("http://mirror.example.com/")))},
	{name: "a manifest of 9 MiB", row: "F25", play: injects(simnet.HugeManifest(9<<20, true))},
	{name: "a login page where a manifest should be", row: "F26", play: injects(on(content, simnet.HTML200()))},
	{name: "a manifest of an odd type", row: "F27", play: injects(on(simnet.Manifests, simnet.WrongType("application/x-tar")))},
	{name: "a wrong Docker-Content-Digest", row: "F28", play: injects(on(simnet.Manifests, simnet.WrongDigest()))},
	{name: "clocks differ by two hours", row: "F29", play: injects(simnet.Fault{DateSkew: 2 * time.Hour})},
	{name: "the proxy is down", row: "F42", proxied: true, play: func(s *toldSite) { s.proxy.Break(simnet.ConnReset) }},
	{name: "the proxy refuses our login", row: "F43", proxied: true, play: func(s *toldSite) { s.proxy.Refuse(simnet.ProxyBadLogin); s.proxy.CloseConnections() }},
	{name: "the proxy cannot reach the registry", row: "F43", proxied: true, play: func(s *toldSite) { s.proxy.Refuse(simnet.ProxyUnreachable); s.proxy.CloseConnections() }},
	{name: "headers of 70 KiB", row: "F44", play: injects(simnet.Fault{On: content, HeaderBytes: 70 << 10})},
	{name: "something that is no HTTP", row: "F45", play: injects(simnet.Fault{On: content, Garbage: "SSH-2.0-OpenSSH_9.2\r\n"})},
	{name: "the connection ends before the headers", row: "F45", play: injects(simnet.Fault{On: content, Drop: simnet.EndFIN})},
	{name: "a blob is encoded by the CDN", row: "F47", ask: "blob", play: injects(simnet.Fault{On: simnet.Blobs, Gzip: true})},
}

// pathOf is what is asked for of an image.
func (f toldFault) pathOf(image *simnet.Content, registry string) string {
	path := image.Path()
	switch f.ask {
	case "blob":
		layer, _ := image.Layer(0)
		path = image.BlobPath(layer.Digest)
	case "digest":
		path = image.ManifestPath(image.Root.Digest.String())
	}
	return path + "?ns=" + registry
}

// dockerSays is what an error comes to at the client, of which docker prints the status
// line if it is a 5xx, else code and message (docs/protocol.md 6).
func dockerSays(got reply) string {
	switch {
	case got.Status == http.StatusOK && got.Err != nil:
		return "200, then " + got.Err.Error()
	case got.Status == http.StatusOK:
		return "nothing: it is served"
	case got.Status >= http.StatusInternalServerError:
		return got.Line
	}
	return got.Line + ", " + strings.TrimSpace(ociSays(got.Body))
}
