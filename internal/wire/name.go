package wire

import (
	_ "crypto/sha256" // so that digest.SHA256.Verifier works wherever CheckDigest does
	_ "crypto/sha512" // likewise for digest.SHA512
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// CheckRepo checks a repository name against the grammar of distribution-spec
// ("Pulling manifests"): components of lower-case letters and digits, joined
// inside by ".", "_", "__" or dashes and outside by "/". The error names the
// fault in words for a person.
func CheckRepo(name string) error {
	if name == "" {
		return errors.New("repository name is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("repository name is longer than %d bytes", maxName)
	}
	for part := range strings.SplitSeq(name, "/") {
		if !isComponent(part) {
			return fmt.Errorf("repository name %s: bad component %s", quoteShort(name), quoteShort(part))
		}
	}
	return nil
}

// isComponent matches [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* whole.
func isComponent(s string) bool {
	start := 0 // of the run of separators that precedes the byte at hand
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			if start < i && (start == 0 || !isSeparator(s[start:i])) {
				return false
			}
			start = i + 1
		case c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != "" && start == len(s)
}

func isAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func isSeparator(s string) bool {
	return s == "." || s == "_" || s == "__" || strings.Trim(s, "-") == ""
}

// CheckTag checks a tag: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127} (distribution-spec).
func CheckTag(tag string) error {
	if tag == "" {
		return errors.New("tag is empty")
	}
	if len(tag) > maxTag {
		return fmt.Errorf("tag is longer than %d bytes", maxTag)
	}
	for i := range len(tag) {
		c := tag[i]
		if isAlnum(c) || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && (c == '.' || c == '-') {
			continue
		}
		return fmt.Errorf("tag %s is malformed", quoteShort(tag))
	}
	return nil
}

// CheckDigest returns s as a digest if it is a sha256 or sha512 in lower-case
// hexadecimal: the two algorithms that the OCI image-spec registers, and so what
// every client can check. Anything else is an error, before it can become part
// of a path or a file name (CVE-2024-3727).
func CheckDigest(s string) (digest.Digest, error) {
	algorithm, hex, _ := strings.Cut(s, ":")
	var want int
	switch digest.Algorithm(algorithm) {
	case digest.SHA256:
		want = 64
	case digest.SHA512:
		want = 128
	default:
		return "", fmt.Errorf("digest %s is neither sha256 nor sha512", quoteShort(s))
	}
	if len(hex) != want || !isHex(hex) {
		return "", fmt.Errorf("digest %s is malformed", quoteShort(s))
	}
	return digest.Digest(s), nil
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || '9' < c) && (c < 'a' || 'f' < c) {
			return false
		}
	}
	return true
}

// OfficialRepo inserts library/, where Docker Hub keeps the images that people
// call by one word: "alpine" is library/alpine there.
func OfficialRepo(repo string) string {
	if strings.Contains(repo, "/") {
		return repo
	}
	return "library/" + repo
}
