package warm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"

	"github.com/pullchain/pullchain/internal/wire"
)

// An image is something to pull, by the name that the data plane knows it by. The
// names of people are resolved here and not by the daemon, as every client does it:
// the cache must hold what those clients will ask for.
type Image struct {
	Registry  string // as in "docker.io"
	Repo      string // as in "library/alpine"
	Reference string // a tag or a digest
	From      string // where it was read, as in "compose.yaml:12"; empty for an argument
}

// ParseImage reads what people type: "alpine" is docker.io/library/alpine:latest,
// and a name with both a tag and a digest means the digest, as it does for docker
// and containerd.
func ParseImage(text string) (Image, error) {
	if _, after, ok := strings.Cut(text, "://"); ok {
		return Image{}, fmt.Errorf("%q is a URL, and an image is named like %q", text, after)
	}
	named, err := reference.ParseDockerRef(text)
	if err != nil {
		return Image{}, fmt.Errorf("%q is no image: %w", text, err)
	}
	img := Image{Registry: reference.Domain(named), Repo: reference.Path(named)}
	switch r := named.(type) {
	case reference.Digested:
		if _, err := wire.CheckDigest(r.Digest().String()); err != nil {
			return Image{}, fmt.Errorf("%q is no image: %w", text, err)
		}
		img.Reference = r.Digest().String()
	case reference.Tagged:
		img.Reference = r.Tag()
	default:
		return Image{}, fmt.Errorf("%q is no image: %w", text, errors.ErrUnsupported)
	}
	return img, nil
}

// String returns the whole name.
func (i Image) String() string {
	if strings.Contains(i.Reference, ":") {
		return i.Registry + "/" + i.Repo + "@" + i.Reference
	}
	return i.Registry + "/" + i.Repo + ":" + i.Reference
}

// Unique leaves out what has been named before.
func Unique(images []Image) []Image {
	seen := map[string]bool{}
	var out []Image
	for _, i := range images {
		if !seen[i.String()] {
			seen[i.String()] = true
			out = append(out, i)
		}
	}
	return out
}
