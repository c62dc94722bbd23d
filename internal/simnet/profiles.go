package simnet

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Profile is a registry of the world's, or a way in which mirrors are made, as far as a pull can tell it
// from another (docs/protocol.md 9 has the sources).
type Profile struct {
	Name     string // of letters, digits and dashes
	Registry string // what clients call it
	Host     string // by which clients name it in place of Registry; "" for none
	Repo     string // what clients call the repository
	Path     string // what follows the server's address in an upstream's url
	Keys     string // further settings of the upstream, TOML; CERT and KEY stand for a client's certificate

	NoTags, NoReferrers bool // it has no such API

	token   string // path of its token endpoint; "" for no tokens
	bearer  string // challenge after `Bearer realm="…"`; REPO is the repository
	field   string // of the token's answer; "" for both
	spells  string // how it calls the repository itself; "" as clients do
	blobs   string // "cdn", "relative", or "" for here
	refusal string // type and body of a 401 that is no JSON, apart by a line end; "" for an OCI error
	origin  Origin
	change  func(s *Server, lib *Library, repo string) // further oddities
}

// Profiles returns all of them.
func Profiles() []Profile {
	const scope = `,scope="repository:REPO:pull"`
	label := func(contentType string) func(*Server, *Library, string) {
		return func(s *Server, _ *Library, _ string) {
			s.Inject(Fault{On: Manifests, NoLength: true, Header: map[string]string{"Content-Type": contentType, "Docker-Content-Digest": "", "ETag": ""}})
		}
	}
	return []Profile{
		{Name: "artifact-registry", Registry: "us-docker.pkg.dev", Repo: "project/repo/app", token: "/v2/token", bearer: `,service="us-docker.pkg.dev"`, blobs: "relative"},
		{Name: "kubernetes", Registry: "registry.k8s.io", Repo: "pause", change: k8s},
		{Name: "ecr-public", Registry: "public.ecr.aws", Repo: "docker/library/alpine", token: "/token/", bearer: `,service="public.ecr.aws",scope="aws"`, field: "token", blobs: "cdn", NoReferrers: true},
		{Name: "quay", Registry: "quay.io", Repo: "team/app", token: "/v2/auth", bearer: `,service="quay.io"` + scope, field: "token", blobs: "cdn"},
		{Name: "gcr", Registry: "gcr.io", Repo: "project/app", token: "/v2/token", bearer: `,service="gcr.io"` + scope, blobs: "cdn", NoReferrers: true, change: tagMap},
		{Name: "mcr", Registry: "mcr.microsoft.com", Repo: "dotnet/runtime", blobs: "cdn"},
		{Name: "nvcr", Registry: "nvcr.io", Repo: "nvidia/cuda", token: "/proxy_auth", bearer: scope, field: "token", blobs: "cdn", NoReferrers: true, refusal: "text/html\n<html><head><title>401 Authorization Required</title></head></html>"},
		{Name: "elastic", Registry: "docker.elastic.co", Repo: "elasticsearch/elasticsearch", token: "/auth", bearer: `,service="token-service"` + scope, field: "access_token", blobs: "cdn", NoReferrers: true},
		{Name: "gitlab", Registry: "registry.gitlab.com", Repo: "group/sub/project/image", token: "/jwt/auth", bearer: `,service="container_registry"` + scope, field: "token", blobs: "cdn"},
		{Name: "harbor-project", Registry: "docker.io", Repo: "library/alpine", Path: "/proxy-hub", spells: "proxy-hub/library/alpine", token: "/service/token", bearer: `,service="harbor-registry"` + scope},
		{Name: "nexus", Registry: "nexus.corp.example", Repo: "team/app", token: "/v2/token", bearer: `,service="nexus/v2/token"`, field: "token", NoReferrers: true},
		{Name: "artifactory", Registry: "docker.io", Repo: "library/alpine", Path: "/docker-remote", spells: "docker-remote/library/alpine", token: "/artifactory/api/docker/docker-remote/v2/token", bearer: `,service="artifactory.corp.example"`, NoReferrers: true},
		{Name: "acr", Registry: "corp.azurecr.io", Repo: "team/app", token: "/oauth2/token", bearer: `,service="corp.azurecr.io"` + scope, field: "access_token", blobs: "cdn"},
		{Name: "gitea", Registry: "gitea.corp.example", Repo: "owner/app", token: "/v2/token", bearer: `,service="container_registry",scope="*"`, field: "token", NoReferrers: true},
		{Name: "ollama", Registry: "registry.ollama.ai", Host: "models.corp.example", Repo: "library/tinyllama", blobs: "cdn", NoTags: true, NoReferrers: true, change: label("text/plain; charset=utf-8")},

		{Name: "mirror-path-prefix", Registry: "docker.io", Repo: "library/alpine", Path: "/docker.io", spells: "docker.io/library/alpine"},
		{Name: "mirror-with-library", Registry: "docker.io", Repo: "library/alpine"},
		{Name: "mirror-without-library", Registry: "docker.io", Repo: "library/alpine", spells: "alpine", Keys: `rewrite = [{from = "library/", to = ""}]`},
		{Name: "mirror-ns", Registry: "ghcr.io", Repo: "team/app", Keys: "ns = true", change: byNS},
		{Name: "mirror-plain-http", Registry: "docker.io", Repo: "library/alpine", origin: Origin{Plain: true}},
		{Name: "mirror-client-cert", Registry: "docker.io", Repo: "library/alpine", Keys: "client_cert = \"CERT\"\nclient_key = \"KEY\"", origin: Origin{ClientAuth: tls.RequireAndVerifyClientCert}},
	}
}

// Start adds the registry, with img under its own name for the repository. The server is called by the profile's
// name, and its CDN by that and "-cdn".
func (p Profile) Start(n *Net, img Image) *Server {
	img.Repo = p.Repo
	if p.spells != "" {
		img.Repo = p.spells
	}
	lib := newLibrary(n, []Image{img})
	auth := &Auth{cfg: AuthConfig{TTL: 300 * time.Second, Field: p.field, NoExpires: p.field == "token"}, tokens: map[string]grant{}}
	var s *Server
	g := &registry{from: lib, noReferrers: p.NoReferrers}
	if p.token != "" {
		g.admit = func(w http.ResponseWriter, r *http.Request, rt route) bool { return p.admit(s.URL(), auth, w, r, rt) }
	}
	switch p.blobs {
	case "cdn":
		cdn := n.AddCDN(CDNConfig{Origin: Origin{Name: p.Name + "-cdn", Plain: p.origin.Plain}})
		cdn.serves(p.Name, lib)
		g.redirect = func(repo string, d digest.Digest) string { return cdn.SignedURL(p.Name, repo, d) }
	case "relative":
		g.redirect = func(repo string, d digest.Digest) string {
			return "/artifacts-downloads/?" + url.Values{"repo": {repo}, "digest": {d.String()}}.Encode()
		}
	}
	o := p.origin
	o.Name = p.Name
	o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case p.token != "" && r.URL.Path == p.token:
			r.URL.Path = "/token"
			auth.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/artifacts-downloads/"):
			lib.serveBlob(w, r, r.URL.Query().Get("repo"), digest.Digest(r.URL.Query().Get("digest")))
		default:
			g.ServeHTTP(w, r)
		}
	})
	s = n.AddOrigin(o)
	if p.NoTags {
		s.Inject(says(Tags, http.StatusNotFound, plainText, routerNotFound))
	}
	if p.change != nil {
		p.change(s, lib, img.Repo)
	}
	return s
}

// admit is the token check. A token for scope "aws" or "*" opens everything, as the registries
// with such a scope have it.
func (p Profile) admit(base string, auth *Auth, w http.ResponseWriter, r *http.Request, rt route) bool {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	fixed := strings.Contains(p.bearer, "scope=") && !strings.Contains(p.bearer, "REPO")
	if _, valid, allowed := auth.check(token, rt.repo); allowed || fixed && valid {
		return true
	}
	challenge := fmt.Sprintf(`Bearer realm="%s%s"%s`, base, p.token, strings.ReplaceAll(p.bearer, "REPO", rt.repo))
	if rt.repo == "" {
		challenge, _, _ = strings.Cut(challenge, `,scope="repository`)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	if contentType, body, ok := strings.Cut(p.refusal, "\n"); ok {
		w.Header().Del("Docker-Distribution-Api-Version")
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(body))
		return false
	}
	fail(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

// k8s redirects everything to a registry of Artifact Registry's kind, which asks for a token of its own, and
// blobs to a bucket.
func k8s(s *Server, lib *Library, _ string) {
	n := s.net
	bucket := n.AddCDN(CDNConfig{Origin: Origin{Name: s.name + "-cdn"}})
	bucket.serves(s.name, lib)
	cfg := HubConfig{Origin: Origin{Name: s.name + "-regional"}}
	regional := &Hub{Library: lib, Auth: n.AddAuth(authOf(cfg))}
	cfg.Handler = &registry{from: lib, admit: regional.admit}
	regional.Server = n.start(cfg.Origin, nil)
	s.Inject(Fault{On: Manifests | Tags | Referrers | Blobs, Respond: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := regional.PublicURL() + r.URL.RequestURI()
		if rt := routeOf(r); rt.class == Blobs {
			to = bucket.SignedURL(s.name, rt.repo, digest.Digest(rt.ref))
		}
		w.Header().Set("Location", to)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})})
}

// tagMap is a list of tags with what else is known of each manifest.
func tagMap(s *Server, lib *Library, repo string) {
	s.Inject(Fault{On: Tags, Unless: "n=", Header: map[string]string{"Content-Length": ""}, Respond: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, _ := lib.tags(r.Context(), repo)
		manifests := map[string]any{}
		for _, tag := range all {
			if m, ok := lib.manifest(r.Context(), repo, tag, nil); ok {
				manifests[m.digest.String()] = map[string]any{"imageSizeBytes": "1024", "layerId": "", "mediaType": m.mediaType, "tag": all, "timeUploadedMs": "1690000000000"}
			}
		}
		writeJSON(w, r, "application/json", encode(map[string]any{"child": []string{}, "manifest": manifests, "name": repo, "tags": all}))
	})})
}

// byNS serves a registry only to requests that name it.
func byNS(s *Server, _ *Library, _ string) {
	f := says(Manifests|Blobs|Tags|Referrers, http.StatusNotFound, "application/json", string(errorBody("NAME_UNKNOWN", "which registry?")))
	f.Unless = "ns=ghcr.io"
	s.Inject(f)
}
