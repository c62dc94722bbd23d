package upstreams_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/internal/wire"
	"github.com/pullchain/pullchain/upstreams"
)

// The tests of this file are the advisories of docs/faults.md 5 that concern an
// upstream, each by its number.

// TestCVE_2026_33540 (distribution): a login goes to no realm that the registry
// makes up; such a realm gets an anonymous question.
func TestCVE_2026_33540_ForeignRealm(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	thief := r.AddAuth(simnet.AuthConfig{Origin: simnet.Origin{Name: "thief", ByName: true}})
	r.hub.SetRealm("https://localhost:" + port(thief.Server) + "/token") // another host than 127.0.0.1
	_, _, err := fetch(t, r.upstream(t, withSecrets), r.tag())
	if err == nil {
		t.Error("the thief's token was good?")
	}
	if n := r.count(simnet.Filter{Server: "thief", Class: simnet.Token}); n != 1 {
		t.Errorf("%d questions at the foreign realm, want one without a login", n)
	}
	if leaks := r.Ledger().Leaks("marker-"); len(leaks) > 0 && leaks[0].Server != "hub" {
		t.Errorf("%s got %v", leaks[0].Server, leaks[0].Header)
	}
}

// TestCVE_2026_48978 (oras-go, go-containerregistry): no realm and no redirect
// of a token server leads inward.
func TestCVE_2026_48978_RealmInward(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	inside := r.origin("inside", answering(200, nil, `{"token":"x"}`))
	for _, realm := range []string{
		"http://169.254.169.254/latest/api/token", "https://metadata.google.internal/", "https://[fe80::1]/token",
		"http://" + inside.Addr() + "/token", inside.URL() + "/token", "https://0x7f.1:" + port(inside) + "/", "file:///etc/passwd", "//x",
	} {
		r.hub.SetRealm(realm)
		_, _, err := fetch(t, r.upstream(t, private(false)), r.tag())
		if e := expectError(t, err, pullchain.Refused, pullchain.CodeAuthRealm); e.Reach != pullchain.ReachRequest {
			t.Errorf("%s: reach %v: what our policy refuses judges the request alone", realm, e.Reach)
		}
	}
	r.expectUntouched(t, "inside")
}

// TestCVE_2026_49349 (regclient, oras-go GHSA-vh4v): the 401 of a place that a
// redirect led to is a failure, and is answered with nothing.
func TestCVE_2026_49349_ChallengeOffOrigin(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	thief := r.AddAuth(simnet.AuthConfig{Origin: simnet.Origin{Name: "thief-auth"}})
	cdn := r.origin("thief", answering(401, map[string]string{"WWW-Authenticate": `Bearer realm="` + thief.Realm() + `",service="x"`}, ""))
	basicCDN := r.origin("thief-basic", answering(401, map[string]string{"WWW-Authenticate": `Basic realm="x"`}, ""))
	for _, to := range []*simnet.Server{cdn, basicCDN} {
		lift := r.hub.Inject(simnet.Fault{On: simnet.Blobs, Respond: redirect(to.URL() + "/data")})
		_, _, err := fetch(t, r.upstream(t, withSecrets), r.blob())
		expectError(t, err, pullchain.Unavailable, pullchain.CodeSignedURL)
		lift()
	}
	r.expectUntouched(t, "thief-auth")
	if leaks := r.Ledger().Leaks("marker-", "hub"); len(leaks) > 0 {
		t.Errorf("%s got %v", leaks[0].Server, leaks[0].Header)
	}
}

// TestCVE_2020_15157 (containerd, "ContainerDrip"): the urls of a layer are
// never asked, whatever they promise.
func TestCVE_2020_15157_ForeignLayerURL(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	thief := r.origin("thief", answering(200, nil, "stolen"))
	foreign := digest.FromString("foreign")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[`+
		`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":%q,"size":7,"urls":[%q]}]}`,
		simnet.TypeDockerManifest, simnet.TypeDockerConfig, digest.FromString("{}"), foreign, thief.URL()+"/layer")
	defer r.hub.Inject(simnet.Fault{On: simnet.Manifests, Respond: answering(200, map[string]string{"Content-Type": simnet.TypeDockerManifest}, manifest)})()
	u := r.upstream(t, withSecrets)
	resp, body := mustFetch(t, u, r.tag())
	if string(body) != manifest || len(resp.Links) != 2 {
		t.Errorf("the manifest is not passed on as it is: %s", body)
	}
	req := r.blob()
	req.Digest = foreign
	_, _, err := fetch(t, u, req)
	expectError(t, err, pullchain.NotFound, pullchain.CodeNotFound)
	r.expectUntouched(t, "thief")
}

// TestGGCR_2293 and its kin: a Link to another host is handed up, not followed.
func TestGGCR_2293_LinkElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	thief := r.origin("thief", answering(200, nil, "{}"))
	defer r.hub.Inject(simnet.Fault{Header: map[string]string{"Link": "<" + thief.URL() + `/v2/x/tags/list?n=1>; rel="next"`}})()
	mustFetch(t, r.upstream(t, nil), pullchain.Request{Op: pullchain.Tags, Repo: r.img.Repo})
	r.expectUntouched(t, "thief")
}

// TestGGCR_2337 (scope pollution): a challenge cannot widen what is asked of
// the token server.
func TestGGCR_2337_WiderScope(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	polluted := `Bearer realm="` + r.hub.Auth.Realm() + `",service="hub",scope="repository:library/alpine:pull,push repository:private/app:pull"`
	defer r.hub.Inject(simnet.Fault{On: simnet.Manifests, Status: 401, Times: 1, Header: map[string]string{"WWW-Authenticate": polluted}})()
	mustFetch(t, r.upstream(t, nil), r.tag())
	asked := r.Ledger().Find(simnet.Filter{Server: "hub-auth"})
	if len(asked) != 1 || strings.Contains(asked[0].Query, "push") || strings.Contains(asked[0].Query, "private") {
		t.Errorf("asked %+v", asked)
	}
}

// TestCVE_2024_3727 (containers/image): digests that an upstream writes are
// parsed before anything is done with them.
func TestCVE_2024_3727_DigestStrings(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"sha256:../../../../etc/passwd", "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("0", 63), "md5:" + strings.Repeat("0", 32),
		"sha256:" + strings.Repeat("0", 64) + "\u2026", "../x", "sha256:",
	} {
		r := newRig(t, simnet.HubConfig{Open: true})
		lift := r.hub.Inject(simnet.Fault{On: simnet.Manifests, Header: map[string]string{"Docker-Content-Digest": bad}})
		for _, req := range []pullchain.Request{r.tag(), r.head(r.tag()), headersOnly(r.tag()), r.pinned()} {
			resp, _ := mustFetch(t, r.upstream(t, nil), req) // such a name names nothing, and nothing is made of it
			want := r.img.Root.Digest
			if req.Options.HeadersOnly {
				want = ""
			}
			if resp.Digest != want || resp.Header.Get("Docker-Content-Digest") != "" {
				t.Errorf("%q: %q, %v", bad, resp.Digest, resp.Header)
			}
		}
		lift()
		doc := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":2}]}`, simnet.TypeOCIIndex, simnet.TypeOCIManifest, bad)
		lift = r.hub.Inject(simnet.Fault{On: simnet.Manifests, Respond: answering(200, map[string]string{"Content-Type": simnet.TypeOCIIndex}, doc)})
		if resp, _, err := fetch(t, r.upstream(t, nil), r.tag()); err == nil && len(resp.Links) > 0 {
			t.Errorf("%q became a link: %v", bad, resp.Links)
		}
		lift()
	}
}

// TestCVE_2019_10214 (containers/image): insecure_skip_verify is the registry's
// alone and not its token server's. The servers have names here, dialled
// through a simulated proxy; only these tell one host from another.
func TestCVE_2019_10214_VerifyTokenServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Origin: simnet.Origin{Name: "hub", ByName: true}})
	proxy := r.AddConnectProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy"}})
	fetchVia := func() error {
		u, err := upstreams.New(upstreams.Config{
			Name: "hub", URL: r.hub.NameURL(), CAFile: r.ca, InsecureSkipVerify: true, AllowPrivate: true, Timeouts: unhurried,
		}, egress.Config{Name: "proxy", URL: proxy.URL()})
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		_, _, err = fetch(t, u, r.tag())
		return err
	}
	r.hub.Break(simnet.ConnUnknownCA)
	if err := fetchVia(); err != nil {
		t.Fatalf("a registry with a certificate of its own, verified although told not to: %v", err)
	}
	r.hub.Auth.Break(simnet.ConnUnknownCA)
	expectError(t, fetchVia(), pullchain.Unavailable, pullchain.CodeToken)
	if n := r.count(simnet.Filter{Server: "hub-auth"}); n != 1 {
		t.Errorf("the token server got %d requests, want the one while it was genuine", n)
	}
}

// TestCVE_2021_41092 (docker cli; moby#42022): a login configured for one
// upstream is no other's, also on one host.
func TestCVE_2021_41092_LoginsApart(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Auth: simnet.AuthConfig{
		Users: map[string]string{"robot": "marker-password"}, Private: []string{"library/alpine"},
	}})
	mustFetch(t, r.upstream(t, withSecrets), r.tag())
	_, _, err := fetch(t, r.upstream(t, nil), r.tag())
	expectError(t, err, pullchain.Denied, pullchain.CodeUnauthorized)
}

// TestCVE_2023_2253 and its kin (CVE-2017-11468, CVE-2023-25153, ggcr #2296):
// nothing that is read whole is read without end.
func TestCVE_2023_2253_Bounded(t *testing.T) {
	t.Parallel()
	const huge = 64 << 20
	tags := pullchain.Request{Op: pullchain.Tags, Repo: testImage.Repo}
	referrers := pullchain.Request{Op: pullchain.Referrers, Repo: testImage.Repo, Digest: digest.FromString("x")}
	manifest := pullchain.Request{Op: pullchain.Manifest, Repo: testImage.Repo, Tag: "3.20"}
	head := manifest
	head.Head = true
	tests := map[string]struct {
		req    pullchain.Request
		fault  simnet.Fault
		on     string
		reason pullchain.Reason
		code   pullchain.Code
	}{
		"manifest":                   {manifest, simnet.HugeManifest(huge, true), "hub", pullchain.Refused, pullchain.CodeTooLarge},
		"manifest of unknown length": {manifest, simnet.HugeManifest(huge, false), "hub", pullchain.Refused, pullchain.CodeTooLarge},
		"manifest by HEAD":           {head, simnet.HugeManifest(huge, true), "hub", pullchain.Refused, pullchain.CodeTooLarge},
		"tags":                       {tags, simnet.HugeBody(huge), "hub", pullchain.Refused, pullchain.CodeTooLarge},
		"referrers":                  {referrers, simnet.HugeBody(huge), "hub", pullchain.Refused, pullchain.CodeTooLarge},
		"error":                      {manifest, simnet.Fault{Respond: endless(500)}, "hub", pullchain.Unavailable, pullchain.CodeServerError},
		"challenge":                  {manifest, simnet.Fault{Respond: endless(401)}, "hub", pullchain.Denied, pullchain.CodeUnauthorized},
		"redirect":                   {manifest, simnet.Fault{Respond: endless(307)}, "hub", pullchain.Unavailable, pullchain.CodeUnexpected},
		"token":                      {manifest, simnet.HugeBody(huge), "hub-auth", pullchain.Unavailable, pullchain.CodeToken},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: tt.on == "hub"})
			defer r.Server(tt.on).Inject(tt.fault)()
			_, _, err := fetch(t, r.upstream(t, nil), tt.req)
			e := expectError(t, err, tt.reason, tt.code)
			if tt.code == pullchain.CodeTooLarge && e.Reach != pullchain.ReachRequest {
				t.Errorf("scope %v: one large document says nothing of the others (docs/faults.md F25)", e.Reach)
			}
			if err := r.Ledger().WaitIdle(within(t, ioPatience)); err != nil {
				t.Fatal("the server is still being read")
			}
			// The kernel's buffers of both ends hold some megabytes more than was read.
			if n := r.Ledger().Bytes(simnet.Filter{Server: tt.on}); n > 24<<20 {
				t.Errorf("%d bytes were taken", n)
			}
		})
	}
}

// endless is a handler that sends a body for as long as it is read.
func endless(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		page := []byte(strings.Repeat("x", 32<<10))
		for {
			if _, err := w.Write(page); err != nil {
				return
			}
		}
	})
}

// TestCVE_2021_41190 (GHSA-5j5w, GHSA-qq97): what two readers could take for
// two things is served to none.
func TestCVE_2021_41190_AmbiguousManifest(t *testing.T) {
	t.Parallel()
	const layers = `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]`
	tests := map[string]struct{ contentType, doc string }{
		"layers and manifests":    {simnet.TypeOCIManifest, `{"schemaVersion":2,` + layers + `,"manifests":[]}`},
		"both, as an index":       {simnet.TypeOCIIndex, `{"schemaVersion":2,"manifests":[],` + layers + `}`},
		"layers twice":            {simnet.TypeOCIManifest, `{"schemaVersion":2,` + layers + `,"layers":[]}`},
		"Layers in another case":  {simnet.TypeOCIManifest, `{"schemaVersion":2,` + layers + `,"Layers":[]}`},
		"index sent as manifest":  {simnet.TypeOCIManifest, `{"schemaVersion":2,"mediaType":"` + simnet.TypeOCIIndex + `","manifests":[]}`},
		"two documents":           {simnet.TypeOCIManifest, `{"schemaVersion":2,` + layers + `}{}`},
		"type and shape disagree": {simnet.TypeOCIManifest, `{"schemaVersion":2,"mediaType":"` + simnet.TypeOCIManifest + `","manifests":[]}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true})
			defer r.hub.Inject(simnet.Fault{Respond: answering(200, map[string]string{"Content-Type": tt.contentType}, tt.doc)})()
			_, _, err := fetch(t, r.upstream(t, nil), r.tag())
			relabelled := name == "index sent as manifest" // only its label is wrong: TestWrongLabel
			// It is the image that is odd: else a user that can push one takes its registry
			// out of service.
			if !relabelled {
				if e := expectError(t, err, pullchain.Corrupt, pullchain.CodeWrongType); e.Reach != pullchain.ReachRequest {
					t.Errorf("reach %v, want this request", e.Reach)
				}
			}
			req := r.tag()
			req.Digest = digest.FromString(tt.doc)
			resp, _, err := fetch(t, r.upstream(t, nil), req)
			if relabelled {
				if err != nil || resp.MediaType != simnet.TypeOCIIndex {
					t.Errorf("%q, %v", resp.MediaType, err)
				}
				return
			}
			if e := expectError(t, err, pullchain.Corrupt, pullchain.CodeWrongType); e.Reach != pullchain.ReachRequest {
				t.Errorf("scope %v, want this request", e.Reach)
			}
		})
	}
}

// TestWrongLabel: a document says itself what it is, and its word outweighs the label,
// asked for by digest or by tag, by GET or by HEAD (docs/faults.md 0.1, F27).
func TestWrongLabel(t *testing.T) {
	t.Parallel()
	for _, label := range []string{
		"application/json", "text/plain; charset=utf-8", "application/octet-stream", "text/html; charset=utf-8", simnet.TypeOCIIndex, simnet.TypeDockerManifest, "",
	} {
		for _, digest := range []string{"", "with a digest header"} {
			r := newRig(t, simnet.HubConfig{Open: true})
			odd := map[string]string{"Content-Type": label}
			if digest == "" {
				odd["Docker-Content-Digest"] = ""
			}
			defer r.hub.Inject(simnet.Fault{Header: odd})()
			u := r.upstream(t, nil)
			reqs := []pullchain.Request{r.pinned(), r.tag()}
			if wire.IsVagueType(label) { // else the label is all that HEAD has to go by
				reqs = append(reqs, r.head(r.tag()))
			}
			for _, req := range reqs {
				resp, body := mustFetch(t, u, req)
				if !req.Head {
					sameBytes(t, body, r.img.Manifest())
				}
				if resp.MediaType != simnet.TypeOCIManifest || resp.Digest != r.img.Root.Digest || resp.Size != r.img.Root.Size || req.Head && len(body)+len(resp.Links) != 0 {
					t.Errorf("%q %s, HEAD %t: %+v", label, digest, req.Head, resp)
				}
			}
			if n := r.count(simnet.Filter{Method: http.MethodHead}); n > 1 {
				t.Errorf("%d HEADs", n)
			}
		}
	}
}

// TestUnknownKind: what we do not know passes as it came, by a tag only where something
// names it; a page and an ambiguous document do not (docs/faults.md 0.1).
func TestUnknownKind(t *testing.T) {
	t.Parallel()
	const artifact = "application/vnd.oci.artifact.manifest.v1+json"
	for name, tt := range map[string]struct {
		label, doc, byTag, byDigest string // the type it is served as; "" for not at all
	}{
		"an artifact":             {artifact, `{"mediaType":"` + artifact + `","blobs":[]}`, artifact, artifact},
		"under a vague label":     {"text/plain", `{"mediaType":"` + artifact + `","blobs":[]}`, artifact, artifact},
		"named by its label":      {"application/vnd.example+json", `{"x":1}`, "application/vnd.example+json", "application/vnd.example+json"},
		"named by nothing":        {"application/json", `{"status":"ok"}`, "", "application/json"},
		"no JSON":                 {"application/x-thing", `thing`, "", "application/x-thing"},
		"a page by its digest":    {"text/html", `<!DOCTYPE html><p>a page</p>`, "", "text/html"},
		"label and document part": {"application/vnd.example+json", `{"mediaType":"` + artifact + `","blobs":[]}`, "", ""},
		"index and image at once": {"application/vnd.example+json", `{"mediaType":"application/vnd.example+json","layers":[],"manifests":[]}`, "", ""},
	} {
		r := newRig(t, simnet.HubConfig{Open: true})
		defer r.hub.Inject(simnet.Fault{On: simnet.Manifests, Respond: answering(200, map[string]string{"Content-Type": tt.label}, tt.doc)})()
		u := r.upstream(t, nil)
		named := r.tag()
		named.Digest = digest.FromString(tt.doc)
		for _, ask := range []struct {
			req  pullchain.Request
			want string
		}{{r.tag(), tt.byTag}, {named, tt.byDigest}} {
			resp, body, err := fetch(t, u, ask.req)
			switch {
			case ask.want == "":
				if e, ok := errors.AsType[*pullchain.Error](err); !ok || e.Reason != pullchain.Corrupt || e.Reach != pullchain.ReachRequest {
					t.Errorf("%s, %s: %v %q, want it refused", name, ask.req.Reference(), err, body)
				}
			case err != nil || string(body) != tt.doc || resp.MediaType != ask.want || resp.Links != nil:
				t.Errorf("%s, %s: %v %+v", name, ask.req.Reference(), err, resp)
			}
		}
	}
}

// TestGHSA_qv35 (regclient): with a tag and a digest, the digest is what counts,
// and the upstream's own claim is only compared.
func TestGHSA_qv35_PinnedDigest(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	other := r.Build(simnet.Image{Repo: "library/alpine", Labels: map[string]string{"evil": "yes"}})
	evil := map[string]string{"Content-Type": simnet.TypeOCIManifest, "Docker-Content-Digest": r.img.Root.Digest.String()}
	req := r.tag()
	req.Digest = r.img.Root.Digest
	u := r.upstream(t, nil)
	resp, _ := mustFetch(t, u, req)
	if resp.Digest != req.Digest {
		t.Errorf("digest %s", resp.Digest)
	}
	if n := r.count(simnet.Filter{Ref: req.Digest.String()}); n != 1 {
		t.Errorf("asked %+v, want the digest", r.Ledger().All())
	}
	lift := r.hub.Inject(simnet.Fault{Respond: answering(200, evil, string(other.Manifest()))})
	_, _, err := fetch(t, u, req) // the header lies in our favour
	expectError(t, err, pullchain.Corrupt, pullchain.CodeDigestMismatch)
	_, _, err = fetch(t, u, r.tag()) // and here against its own bytes
	expectError(t, err, pullchain.Corrupt, pullchain.CodeDigestMismatch)
	delete(evil, "Docker-Content-Digest")
	_, _, err = fetch(t, u, req) // no header: the bytes alone tell
	expectError(t, err, pullchain.Corrupt, pullchain.CodeDigestMismatch)
	lift()
	evil["Docker-Content-Digest"] = other.Root.Digest.String()
	defer r.hub.Inject(simnet.Fault{Respond: answering(200, evil, string(other.Manifest()))})()
	_, _, err = fetch(t, u, r.head(req))
	expectError(t, err, pullchain.Corrupt, pullchain.CodeDigestMismatch)
	// The label of the right bytes is no reason to refuse them.
	r2 := newRig(t, simnet.HubConfig{Open: true})
	defer r2.hub.Inject(simnet.WrongDigest())()
	resp, body := mustFetch(t, r2.upstream(t, nil), req)
	sameBytes(t, body, r.img.Manifest())
	if resp.Digest != req.Digest {
		t.Errorf("digest %s", resp.Digest)
	}
	// And of HEAD it is no word on them: GET finds out.
	if resp, _ := mustFetch(t, r2.upstream(t, nil), r2.head(req)); resp.Digest != req.Digest || resp.Size != r.img.Root.Size {
		t.Errorf("HEAD: %+v", resp)
	}
}

// TestCVE_2025_48374 (zot; Harbor GO-2026-4876): errors hold no secret, no
// signed URL and no page.
func TestCVE_2025_48374_ErrorsAreClean(t *testing.T) {
	t.Parallel()
	faults := map[string]simnet.Fault{
		"expired":  simnet.ExpiredURL(),
		"html":     simnet.HTML200(),
		"reset":    {Drop: simnet.EndRST},
		"404":      {Status: 404, Body: "no such object"},
		"junk":     {Garbage: "Signature=junk\r\n\r\n"},
		"redirect": simnet.RedirectTo("http://169.254.169.254/?Signature=x"),
		"loop":     simnet.RedirectLoop(),
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Auth: simnet.AuthConfig{Users: map[string]string{"robot": "marker-password"}}})
			fault.On = simnet.Blobs
			defer r.hub.CDN.Inject(fault)()
			_, _, err := fetch(t, r.upstream(t, withSecrets), r.blob())
			if err == nil {
				t.Fatal("no error")
			}
			text := fmt.Sprintf("%v %+v %#v", err, err, err)
			asJSON, _ := json.Marshal(err)
			for _, s := range []string{"marker-", "Expires=", "<html", "simnet-"} {
				if strings.Contains(text+string(asJSON), s) {
					t.Errorf("the error holds %q: %s", s, text)
				}
			}
			if name != "junk" && strings.Contains(text, "Signature=") {
				t.Errorf("the error holds a signed URL: %s", text)
			}
		})
	}
}

// TestCVE_2025_48374_Echo: a far end that repeats in its error what it was told
// does not get it into ours, however long it is and however it is quoted.
func TestCVE_2025_48374_Echo(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("j", 300) + "wt"
	awkward := `canary "quoted" \\ key`
	r := newRig(t, simnet.HubConfig{Open: true})
	defer r.hub.Inject(simnet.Fault{Respond: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Docker-Ratelimit-Source", q.Header.Get("Authorization"))
		w.Header().Set("Ratelimit-Remaining", "5")
		w.WriteHeader(http.StatusForbidden)
		text, _ := json.Marshal(q.Header.Get("Authorization") + " " + q.Header.Get("X-Key"))
		fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":%s}]}`, text)
	})})()
	u := r.upstream(t, func(c *upstreams.Config) {
		c.Token, c.Headers = pullchain.Secret(long), map[string]pullchain.Secret{"X-Key": pullchain.Secret(awkward)}
	})
	_, _, err := fetch(t, u, r.tag())
	e := expectError(t, err, pullchain.Denied, pullchain.CodeForbidden)
	for _, part := range []string{"jjjjj", "canary", "quoted"} {
		if strings.Contains(e.Error(), part) {
			t.Errorf("the error repeats %q: %v", part, e)
		}
	}
	if e.Quota == nil || strings.Contains(e.Quota.Source+u.Facts().Quota.Source, "jjjjj") {
		t.Errorf("the quota's source repeats the token: %+v", e.Quota)
	}
}

// TestErrorsAreShort: net/http repeats what it cannot read; we do not.
func TestErrorsAreShort(t *testing.T) {
	t.Parallel()
	for _, begin := range []string{"", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: "} {
		r := newRig(t, simnet.HubConfig{Open: true})
		defer r.hub.Inject(simnet.Fault{Garbage: begin + strings.Repeat("A", 30<<10) + "\r\n\r\n"})()
		_, _, err := fetch(t, r.upstream(t, nil), r.tag())
		if e := expectError(t, err, pullchain.Unavailable, pullchain.CodeUnexpected); len(e.Error()) > 1000 {
			t.Errorf("%q: an error of %d bytes", begin, len(e.Error()))
		}
	}
}

// TestNoCookies: what an upstream sets is never sent back, to it or to others.
func TestNoCookies(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	for _, s := range []string{"hub", "hub-auth", "hub-cdn"} {
		defer r.Server(s).Inject(simnet.Fault{Header: map[string]string{"Set-Cookie": "id=marker-cookie; Path=/"}})()
	}
	u := r.upstream(t, nil)
	for range 2 {
		mustFetch(t, u, r.tag())
		resp, err := u.Fetch(t.Context(), r.blob())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if leaks := r.Ledger().Leaks("marker-cookie"); len(leaks) > 0 {
		t.Errorf("a cookie came back: %+v", leaks[0])
	}
}
