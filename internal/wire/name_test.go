package wire

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/pullchain/pullchain"
)

// The grammar as distribution-spec prints it ("Pulling manifests").
var (
	specName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	specTag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func TestCheckRepo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		ok   bool
	}{
		{"a", true},
		{"library/alpine", true},
		{"ghcr.io/owner/app", true},
		{"a.b_c__d-e--f/0", true},
		{strings.Repeat("a", 255), true},
		{strings.Repeat("a", 256), false},
		{"", false},
		{"/", false},
		{"a/", false},
		{"/a", false},
		{"a//b", false},
		{"A", false},
		{".a", false},
		{"a.", false},
		{"_a", false},
		{"-a", false},
		{"a-", false},
		{"a..b", false},
		{"a___b", false},
		{"a_-b", false},
		{"a.-b", false},
		{"..", false},
		{"a/../b", false},
		{"a b", false},
		{"a\n", false},
		{"a:b", false},
		{"a@b", false},
		{"ä", false},
	}
	for _, tt := range tests {
		if err := CheckRepo(tt.name); (err == nil) != tt.ok {
			t.Errorf("CheckRepo(%q) = %v, want ok = %t", tt.name, err, tt.ok)
		}
		if specName.MatchString(tt.name) != tt.ok && len(tt.name) <= maxName {
			t.Errorf("the row %q contradicts the spec", tt.name)
		}
	}
}

func TestCheckDigest(t *testing.T) {
	t.Parallel()
	for _, s := range []string{sha256, sha512} {
		d, err := CheckDigest(s)
		if err != nil {
			t.Errorf("CheckDigest(%q): %v", s, err)
			continue
		}
		if v := d.Verifier(); v == nil || d.String() != s { // panics if the hash is not linked in
			t.Errorf("CheckDigest(%q) = %q", s, d)
		}
	}
	for _, s := range []string{
		"", ":", "sha256", "sha256:", sha256 + " ", " " + sha256, sha256[:70], sha256 + "0", "sha512:" + hex256,
		strings.ToUpper(sha256), "sha384:" + hex256 + hex256[:32], "md5:d41d8cd98f00b204e9800998ecf8427e",
		"sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("/", 64), "sha256:" + strings.Repeat(".", 64),
		"sha256:../" + hex256[3:], "sha256+b64u:" + hex256, sha256[:70] + "\x00",
	} {
		if d, err := CheckDigest(s); err == nil || d != "" {
			t.Errorf("CheckDigest(%q) = %q, %v; want an error", s, d, err)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, name := range []string{"a", "library/alpine", "a.b_c__d-e--f/0", "a..b", "A/b", "-", "a/../b", "a%2fb", "a\x00"} {
		f.Add(name, "latest", sha256)
		f.Add(name, ".x", "sha256:"+strings.Repeat("A", 64))
		f.Add(name, "v1_-.Z", sha512)
	}
	f.Fuzz(func(t *testing.T, name, tag, hash string) {
		nameErr, tagErr := CheckRepo(name), CheckTag(tag)
		if want := specName.MatchString(name) && len(name) <= maxName; (nameErr == nil) != want {
			t.Fatalf("CheckRepo(%q) = %v, the spec says %t", name, nameErr, want)
		}
		if want := specTag.MatchString(tag); (tagErr == nil) != want {
			t.Fatalf("CheckTag(%q) = %v, the spec says %t", tag, tagErr, want)
		}
		d, err := CheckDigest(hash)
		if _, libErr := digest.Parse(hash); (err == nil) != (libErr == nil && !strings.HasPrefix(hash, "sha384:")) {
			t.Fatalf("CheckDigest(%q) = %v, go-digest says %v", hash, err, libErr)
		}
		for _, err := range []error{nameErr, tagErr, err} {
			if err != nil {
				checkText(t, strings.ReplaceAll(err.Error(), `"`, ""))
			}
		}
		if nameErr != nil || tagErr != nil || err != nil {
			return
		}
		for _, req := range []pullchain.Request{
			{Op: pullchain.Manifest, Repo: name, Tag: tag},
			{Op: pullchain.Manifest, Repo: name, Digest: d},
			{Op: pullchain.Blob, Repo: name, Digest: d},
			{Op: pullchain.Tags, Repo: name},
			{Op: pullchain.Referrers, Repo: name, Digest: d},
		} {
			got, err := Parse(Path(req), "")
			if diff := cmp.Diff(Target{Kind: Read, Req: req}, got); err != nil || diff != "" {
				t.Fatalf("Parse(Path(%+v)): %v\n%s", req, err, diff)
			}
		}
	})
}
