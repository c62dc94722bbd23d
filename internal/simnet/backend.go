package simnet

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A backend is a real registry as a source. It must be open: tokens are the
// hub's business.
type backend struct {
	url    *url.URL
	client *http.Client
}

func newBackend(n *Net, u *url.URL) *backend {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	n.onClose(tr.CloseIdleConnections)
	return &backend{url: u, client: &http.Client{Transport: tr}}
}

// do asks the backend; the caller closes the body of a non-nil response.
func (b *backend) do(ctx context.Context, method, path string, header http.Header) (*http.Response, bool) {
	raw, query, _ := strings.Cut(path, "?")
	u := b.url.JoinPath(raw)
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, false
	}
	req.Header = header
	resp, err := b.client.Do(req)
	return resp, err == nil
}

// manifest passes Accept on: which document a tag means is the real registry's to
// say.
func (b *backend) manifest(ctx context.Context, repo, ref string, accept []string) (manifest, bool) {
	resp, ok := b.do(ctx, http.MethodGet, "/v2/"+repo+"/manifests/"+ref, http.Header{"Accept": accept})
	if !ok {
		return manifest{}, false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		return manifest{}, false
	}
	return manifest{mediaType: resp.Header.Get("Content-Type"), digest: digest.FromBytes(body), body: body}, true
}

// hasBlob asks by HEAD, so that a redirect to the CDN is given only for what is
// there.
func (b *backend) hasBlob(ctx context.Context, repo string, d digest.Digest) bool {
	resp, ok := b.do(ctx, http.MethodHead, "/v2/"+repo+"/blobs/"+d.String(), http.Header{})
	if !ok {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// serveBlob passes the request on with its ranges, and the answer back.
func (b *backend) serveBlob(w http.ResponseWriter, r *http.Request, repo string, d digest.Digest) {
	h := http.Header{}
	for _, name := range []string{"Range", "If-Range"} {
		if v := r.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	resp, ok := b.do(r.Context(), r.Method, "/v2/"+repo+"/blobs/"+d.String(), h)
	if !ok {
		fail(w, r, http.StatusBadGateway, "UNKNOWN", "the backend registry does not answer")
		return
	}
	defer resp.Body.Close()
	for _, name := range []string{"Content-Type", "Content-Range", "Accept-Ranges", "ETag"} {
		if v := resp.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	if resp.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (b *backend) tags(ctx context.Context, repo string) ([]string, bool) {
	var doc struct{ Tags []string }
	ok := b.decode(ctx, "/v2/"+repo+"/tags/list", &doc)
	slices.Sort(doc.Tags) // paging searches in them
	return doc.Tags, ok
}

func (b *backend) referrers(ctx context.Context, repo string, d digest.Digest) ([]Descriptor, bool) {
	var doc indexDoc
	ok := b.decode(ctx, "/v2/"+repo+"/referrers/"+d.String(), &doc)
	return doc.Manifests, ok
}

// decode reads a JSON document of the real registry.
func (b *backend) decode(ctx context.Context, path string, doc any) bool {
	resp, ok := b.do(ctx, http.MethodGet, path, http.Header{})
	if !ok {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && json.NewDecoder(io.LimitReader(resp.Body, 8<<20)).Decode(doc) == nil
}

// names are not known: a real registry's catalogue is not asked.
func (b *backend) names() []string { return nil }
