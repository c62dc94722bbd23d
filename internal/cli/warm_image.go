package cli

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
type image struct {
	registry  string // as in "docker.io"
	repo      string // as in "library/alpine"
	reference string // a tag or a digest
	from      string // where it was read, as in "compose.yaml:12"; empty for an argument
}

// parseImage reads what people type: "alpine" is docker.io/library/alpine:latest,
// and a name with both a tag and a digest means the digest, as it does for docker
// and containerd.
func parseImage(text string) (image, error) {
	if _, after, ok := strings.Cut(text, "://"); ok {
		return image{}, fmt.Errorf("%q is a URL, and an image is named like %q", text, after)
	}
	named, err := reference.ParseDockerRef(text)
	if err != nil {
		return image{}, fmt.Errorf("%q is no image: %w", text, err)
	}
	img := image{registry: reference.Domain(named), repo: reference.Path(named)}
	switch r := named.(type) {
	case reference.Digested:
		if _, err := wire.CheckDigest(r.Digest().String()); err != nil {
			return image{}, fmt.Errorf("%q is no image: %w", text, err)
		}
		img.reference = r.Digest().String()
	case reference.Tagged:
		img.reference = r.Tag()
	default:
		return image{}, fmt.Errorf("%q is no image: %w", text, errors.ErrUnsupported)
	}
	return img, nil
}

// String returns the whole name.
func (i image) String() string {
	if strings.Contains(i.reference, ":") {
		return i.registry + "/" + i.repo + "@" + i.reference
	}
	return i.registry + "/" + i.repo + ":" + i.reference
}

// unique leaves out what has been named before.
func unique(images []image) []image {
	seen := map[string]bool{}
	var out []image
	for _, i := range images {
		if !seen[i.String()] {
			seen[i.String()] = true
			out = append(out, i)
		}
	}
	return out
}
