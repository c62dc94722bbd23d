package warm

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/wire"
)

// A Platform is what an image is made for (OCI image-spec, image-index.md).
type Platform struct {
	OS      string `json:"os"`
	Arch    string `json:"architecture"`
	Variant string `json:"variant"`
}

// ParsePlatforms reads --platform: "linux/amd64,linux/arm/v7", "arm64" for
// linux/arm64, "current" for this machine. None are all of them.
func ParsePlatforms(list string) ([]Platform, error) {
	if list == "" || list == "all" {
		return nil, nil
	}
	var out []Platform
	for text := range strings.SplitSeq(list, ",") {
		p, err := parsePlatform(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// parsePlatform reads one platform. "linux" alone, or an operating system in the
// place of the architecture, is a mistake: it would match no image, without a word.
func parsePlatform(text string) (Platform, error) {
	parts := strings.Split(text, "/")
	if text == "current" {
		parts = []string{runtime.GOARCH}
	}
	if len(parts) == 1 { // containers are Linux, also on a Mac
		parts = []string{"linux", parts[0]}
	}
	if len(parts) > 3 || slices.Contains(parts, "") || parts[1] == "linux" || parts[1] == "windows" {
		return Platform{}, fmt.Errorf("%q is no platform: they are written like linux/amd64 or linux/arm/v7", text)
	}
	return Platform{parts[0], parts[1], strings.Join(parts[2:], "")}.normal(), nil
}

// normal writes a platform in the one way that OCI's image-index.md has for it;
// people and registries have others, which containerd reads in this manner.
func (p Platform) normal() Platform {
	p = Platform{strings.ToLower(p.OS), strings.ToLower(p.Arch), strings.ToLower(p.Variant)}
	switch p.Arch {
	case "x86_64", "x86-64":
		p.Arch = "amd64"
	case "i386", "i686":
		p.Arch = "386"
	case "aarch64":
		p.Arch = "arm64"
	case "armhf":
		p.Arch, p.Variant = "arm", "v7"
	case "armel":
		p.Arch, p.Variant = "arm", "v6"
	}
	// "arm/7" and "arm/v7" are both in use.
	if len(p.Variant) == 1 && p.Arch != "amd64" {
		p.Variant = "v" + p.Variant
	}
	if p.Arch == "arm64" && p.Variant == "v8" || p.Arch == "amd64" && p.Variant == "v1" {
		p.Variant = ""
	}
	return p
}

// wants reports whether an image for q is one of those asked for by p: without a variant
// that is every one of them.
func (p Platform) wants(q Platform) bool {
	q = q.normal()
	return p.OS == q.OS && p.Arch == q.Arch && (p.Variant == "" || p.Variant == q.Variant)
}

// String returns the platform as people type it.
func (p Platform) String() string {
	return strings.TrimSuffix(p.OS+"/"+p.Arch+"/"+p.Variant, "/")
}

// known reports whether it is a platform at all: attestations stand in an index
// as unknown/unknown (BuildKit, attestation-storage.md).
func (p Platform) known() bool { return p.OS != "" && p.OS != "unknown" && p.Arch != "unknown" }

// An entry is what an index says of one of its manifests.
type entry struct {
	Digest   digest.Digest `json:"digest"`
	Platform *Platform     `json:"platform"`
}

// choose returns the manifests of an index to go on with: all without platforms,
// else those for one of them. A platform that the index does not have is an error.
func choose(index []byte, platforms []Platform) ([]digest.Digest, error) {
	var doc struct {
		Manifests []entry `json:"manifests"`
	}
	if err := json.Unmarshal(index, &doc); err != nil {
		return nil, err
	}
	missing := map[Platform]bool{}
	for _, p := range platforms {
		missing[p] = true
	}
	var chosen []digest.Digest
	var has []string
	for _, e := range doc.Manifests {
		if _, err := wire.CheckDigest(e.Digest.String()); err != nil {
			continue // one that pullchain does not read
		}
		take := len(platforms) == 0
		if e.Platform != nil && e.Platform.known() {
			has = append(has, e.Platform.normal().String())
			for _, p := range platforms {
				if p.wants(*e.Platform) {
					take = true
					delete(missing, p)
				}
			}
		}
		// An entry without a platform is no image of one, such as an attestation:
		// it goes along only when all do.
		if take {
			chosen = append(chosen, e.Digest)
		}
	}
	for _, p := range platforms {
		if missing[p] {
			return nil, fmt.Errorf("it is not made for %s, only for %s", p, wire.Clip(strings.Join(has, ", ")))
		}
	}
	return chosen, nil
}
