package simnet

import (
	"net/http"
	"slices"
)

// MirrorConfig configures a public mirror: a registry without tokens or
// quota, that serves its blobs itself.
type MirrorConfig struct {
	Origin
	Images []Image
	// Allow, when not empty, is the list of repositories that may be had; the
	// rest is 403 DENIED, as at the mirrors with an allow-list.
	Allow []string
	// AllowBlobs lets blobs pass that Allow denies.
	AllowBlobs bool
}

// A Mirror is an open registry. It lags when its Images or SetTag say so, and
// lacks what they do not have.
type Mirror struct {
	*Server
	*Library
}

// AddMirror starts a mirror.
func (n *Net) AddMirror(cfg MirrorConfig) *Mirror {
	m := &Mirror{Library: newLibrary(n, cfg.Images)}
	g := &registry{from: m.Library}
	if len(cfg.Allow) > 0 {
		g.admit = func(w http.ResponseWriter, r *http.Request, rt route) bool {
			if rt.repo == "" || slices.Contains(cfg.Allow, rt.repo) || cfg.AllowBlobs && rt.class == Blobs {
				return true
			}
			fail(w, r, http.StatusForbidden, "DENIED", "this image is not in the allowlist")
			return false
		}
	}
	cfg.Handler = g
	m.Server = n.start(cfg.Origin, nil)
	return m
}
