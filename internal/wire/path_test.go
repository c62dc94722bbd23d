package wire

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pullchain/pullchain"
)

const (
	hex256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	sha256 = "sha256:" + hex256
	sha512 = "sha512:" + hex256 + hex256
)

func TestParse(t *testing.T) {
	t.Parallel()
	read := func(r pullchain.Request) Target { return Target{Kind: Read, Req: r} }
	tests := []struct {
		path, query string
		want        Target
	}{
		{"/v2", "", Target{Kind: Ping}},
		{"/v2/", "ns=docker.io", Target{Kind: Ping}},
		{"/v2/_catalog", "n=10", Target{Kind: Catalog}},
		{"/v2/alpine/manifests/3.20", "", read(pullchain.Request{Op: pullchain.Manifest, Repo: "alpine", Tag: "3.20"})},
		{"/v2/library/alpine/manifests/_a", "ns=docker.io", read(pullchain.Request{Op: pullchain.Manifest, Repo: "library/alpine", Tag: "_a"})},
		{"/v2/ghcr.io/o/app/manifests/" + sha256, "", read(pullchain.Request{Op: pullchain.Manifest, Repo: "ghcr.io/o/app", Digest: sha256})},
		{"/v2/a/manifests/" + sha512, "", read(pullchain.Request{Op: pullchain.Manifest, Repo: "a", Digest: sha512})},
		{"/v2/a__b/c-----d/blobs/" + sha256, "", read(pullchain.Request{Op: pullchain.Blob, Repo: "a__b/c-----d", Digest: sha256})},
		{"/v2/a/blobs/sha256%3A" + hex256, "", read(pullchain.Request{Op: pullchain.Blob, Repo: "a", Digest: sha256})},
		{"/v2/a/blobs/sha256%3a" + hex256, "", read(pullchain.Request{Op: pullchain.Blob, Repo: "a", Digest: sha256})},
		{"/v2/a/referrers/" + sha256, "artifactType=a%2Fb&ns=x", read(pullchain.Request{Op: pullchain.Referrers, Repo: "a", Digest: sha256, Query: "artifactType=a%2Fb"})},
		{"/v2/a/tags/list", "", read(pullchain.Request{Op: pullchain.Tags, Repo: "a"})},
		{"/v2/a/tags/list", "n=5&last=v1&ns=quay.io", read(pullchain.Request{Op: pullchain.Tags, Repo: "a", Query: "last=v1&n=5"})},
		{"/v2/a/tags/list", "next_page=g%41", read(pullchain.Request{Op: pullchain.Tags, Repo: "a", Query: "next_page=gA"})},
		{"/v2/a/tags/list", "n=5&n=50", read(pullchain.Request{Op: pullchain.Tags, Repo: "a", Query: "n=5"})},
		// Words of the grammar are names too.
		{"/v2/a/manifests/b/manifests/c", "", read(pullchain.Request{Op: pullchain.Manifest, Repo: "a/manifests/b", Tag: "c"})},
		{"/v2/blobs/blobs/" + sha256, "", read(pullchain.Request{Op: pullchain.Blob, Repo: "blobs", Digest: sha256})},
		{"/v2/tags/list/tags/list", "", read(pullchain.Request{Op: pullchain.Tags, Repo: "tags/list"})},
		{"/v2/v2/manifests/tags", "", read(pullchain.Request{Op: pullchain.Manifest, Repo: "v2", Tag: "tags"})},
	}
	for _, tt := range tests {
		got, err := Parse(tt.path, tt.query)
		if err != nil {
			t.Errorf("Parse(%q, %q): %v", tt.path, tt.query, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Parse(%q, %q): -want +got\n%s", tt.path, tt.query, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path, query string
		status      int
		code        ErrorCode
	}{
		{"", "", 404, CodeNameUnknown},
		{"/", "", 404, CodeNameUnknown},
		{"/v1/", "", 404, CodeNameUnknown},
		{"/v20/", "", 404, CodeNameUnknown},
		{"v2/", "", 404, CodeNameUnknown},
		{"/v2alpine/tags/list", "", 404, CodeNameUnknown},
		{"/v2.alpine/tags/list", "", 404, CodeNameUnknown},
		{"/V2/", "", 404, CodeNameUnknown},
		{"/v2/alpine", "", 404, CodeNameUnknown},
		{"/v2/_catalog/", "", 404, CodeNameUnknown},
		{"/v2/alpine/tags", "", 404, CodeNameUnknown},
		{"/v2/alpine/tags/other", "", 404, CodeNameUnknown},
		{"/v2/alpine/blobs/uploads/", "", 404, CodeNameUnknown},
		{"/v2/alpine/blobs/uploads/uuid", "", 404, CodeNameUnknown},
		{"/v2/alpine/_trust/tuf/root.json", "", 404, CodeNameUnknown},
		{"/v2/manifests/latest", "", 404, CodeNameUnknown},

		{"/v2//manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a//b/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2//a/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a/../b/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a/./manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a/manifests/latest/..", "", 400, CodeNameInvalid},
		{"/v2/../secret", "", 400, CodeNameInvalid},
		{"/v2/a%2fb/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a%2F..%2Fb/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a%252fb/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/%61/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a%3Ab/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a\\b/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a/mani\\fests/latest", "", 400, CodeNameInvalid},
		{"/v2/a\x00/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a\r\nx:/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a/manifests\x7f/latest", "", 400, CodeNameInvalid},
		{"/v2/Alpine/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/host:5000/a/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/über/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/a;b/manifests/latest", "", 400, CodeNameInvalid},
		{"/v2/" + strings.Repeat("a", 256) + "/tags/list", "", 400, CodeNameInvalid},
		{"/v2/" + strings.Repeat("a/", 1<<20), "", 400, CodeNameInvalid},

		{"/v2/a/manifests/", "", 400, CodeManifestInvalid},
		{"/v2/a/manifests/.a", "", 400, CodeManifestInvalid},
		{"/v2/a/manifests/-a", "", 400, CodeManifestInvalid},
		{"/v2/a/manifests/..", "", 400, CodeManifestInvalid},
		{"/v2/a/manifests/a%2Fb", "", 400, CodeManifestInvalid},
		{"/v2/a/manifests/a+b", "", 400, CodeManifestInvalid},
		{"/v2/a/manifests/" + strings.Repeat("t", 129), "", 400, CodeManifestInvalid},
		{"/v2/a/manifests/" + hex256 + hex256 + "0", "", 400, CodeManifestInvalid},

		{"/v2/a/manifests/sha256:", "", 400, CodeDigestInvalid},
		{"/v2/a/manifests/a%3Ab%3Ac", "", 400, CodeDigestInvalid},
		{"/v2/a/manifests/latest%3A", "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/latest", "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/", "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/sha256:" + hex256[1:], "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/sha256:" + hex256 + "0", "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/SHA256:" + hex256, "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/sha256:" + strings.ToUpper(hex256), "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/sha384:" + hex256[:32] + hex256, "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/sha256:..%2f..%2fetc%2fpasswd", "", 400, CodeDigestInvalid},
		{"/v2/a/blobs/sha256%253A" + hex256, "", 400, CodeDigestInvalid},
		{"/v2/a/referrers/latest", "", 400, CodeDigestInvalid},

		{"/v2/a/tags/list", "n=ten", 400, CodePaginationInvalid},
		{"/v2/a/tags/list", "n=-1", 400, CodePaginationInvalid},
		{"/v2/a/tags/list", "n=", 400, CodePaginationInvalid},
		{"/v2/a/tags/list", "n=99999999999", 400, CodePaginationInvalid},
		{"/v2/a/tags/list", "a=1;b=2", 400, CodeUnsupported},
		{"/v2/a/tags/list", "a=%zz", 400, CodeUnsupported},
		{"/v2/a/tags/list", "a=%0d%0aX:%20y", 400, CodeUnsupported},
		{"/v2/a/tags/list", "=x", 400, CodeUnsupported},
		{"/v2/a/tags/list", "last=" + strings.Repeat("x", 3000), 400, CodeUnsupported},
		{"/v2/a/tags/list", strings.Repeat("a=b&", 100), 400, CodeUnsupported},
	}
	for _, tt := range tests {
		got, err := Parse(tt.path, tt.query)
		e, ok := errors.AsType[*PathError](err)
		if !ok {
			t.Errorf("Parse(%.60q, %.60q) = %+v, %v; want a *PathError", tt.path, tt.query, got, err)
			continue
		}
		if e.Status != tt.status || e.Code != tt.code {
			t.Errorf("Parse(%.60q, %.60q): %d %v, want %d %s", tt.path, tt.query, e.Status, err, tt.status, tt.code)
		}
		checkText(t, e.Message)
	}
}

// A query belongs to lists alone: elsewhere it is the front's alone.
func TestParseDropsQuery(t *testing.T) {
	t.Parallel()
	got, err := Parse("/v2/a/blobs/"+sha256, "ns=%zz;x&access_token=secret")
	if err != nil || got.Req.Query != "" {
		t.Errorf("query of a blob: %q, %v; want none", got.Req.Query, err)
	}
}

func TestPathOfNothingPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("Path of a Request without Op returned")
		}
	}()
	Path(pullchain.Request{Repo: "a"})
}

func FuzzParsePath(f *testing.F) {
	for _, path := range []string{
		"/v2/", "/v2", "/v2/_catalog", "/v2/library/alpine/manifests/3.20", "/v2/a/tags/list",
		"/v2/a/blobs/" + sha256, "/v2/a/blobs/sha256%3a" + hex256, "/v2/a/referrers/" + sha512,
		"/v2/a/manifests/b/manifests/" + sha256, "/v2/a/../b/manifests/x", "/v2/a%2fb/tags/list", "//v2//", "/v2/\x00",
	} {
		f.Add(path, "n=10&last=x&ns=docker.io")
		f.Add(path, "artifactType=a%2Fb;c=%zz")
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		target, err := Parse(path, query)
		if err != nil {
			e, ok := errors.AsType[*PathError](err)
			if !ok || e.Code == "" || e.Status != http.StatusBadRequest && e.Status != http.StatusNotFound {
				t.Fatalf("error is %#v", err)
			}
			checkText(t, e.Message)
			return
		}
		if target.Kind != Read {
			return
		}
		req := target.Req
		canonical := Path(req)
		if strings.Trim(canonical, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-:") != "" || strings.Contains(canonical, "..") && req.Tag == "" {
			t.Fatalf("path %q of %+v is not clean", canonical, req)
		}
		if !strings.Contains(path, "%") && canonical != path {
			t.Fatalf("Path(Parse(%q)) = %q", path, canonical)
		}
		again, err := Parse(canonical, req.Query)
		if err != nil {
			t.Fatalf("Parse(Path(%+v)): %v", req, err)
		}
		if diff := cmp.Diff(target, again); diff != "" {
			t.Fatalf("not stable: -first +second\n%s", diff)
		}
	})
}
