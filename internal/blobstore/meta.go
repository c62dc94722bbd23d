package blobstore

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"time"
)

// Meta is what is kept about content beside its bytes. One that is lost or
// unreadable is empty: the content is then private to no repository, and its type is not
// known.
type Meta struct {
	MediaType string               `json:"mediaType,omitempty"` // of a manifest; empty for blobs
	Public    bool                 `json:"public,omitempty"`    // an anonymous fetch has proved that all clients may read it
	Repos     map[string]time.Time `json:"repos,omitempty"`     // "registry/repository" -> when its access was last proved
	Logins    map[string]string    `json:"logins,omitempty"`    // of those, by which login, in the caller's words
	Pinned    bool                 `json:"pinned,omitempty"`    // never evicted
	Added     time.Time            `json:"added"`               // when it was stored; set by the store when zero
}

// equal reports whether two Metas say the same.
func (m Meta) equal(o Meta) bool {
	return m.MediaType == o.MediaType && m.Public == o.Public && m.Pinned == o.Pinned && m.Added.Equal(o.Added) &&
		maps.EqualFunc(m.Repos, o.Repos, time.Time.Equal) && maps.Equal(m.Logins, o.Logins)
}

// merged returns what is known of content that is stored a second time: what
// was proved stays proved.
func (m Meta) merged(newer Meta) Meta {
	if newer.MediaType != "" {
		m.MediaType = newer.MediaType
	}
	m.Public = m.Public || newer.Public
	m.Pinned = m.Pinned || newer.Pinned
	if len(newer.Repos) == 0 {
		return m // and the maps, which others read, stay as they are
	}
	m.own()
	for repo, at := range newer.Repos {
		if at.After(m.Repos[repo]) {
			m.prove(repo, at, newer.Logins[repo])
		}
	}
	m.shed()
	return m
}

// Prove notes that a repository's access was proved, and by which login. What
// other Metas say of repositories stays as it is.
func (m *Meta) Prove(repo string, at time.Time, login string) {
	m.own()
	m.prove(repo, at, login)
	m.shed()
}

// Disprove takes a repository's access away, from this Meta alone.
func (m *Meta) Disprove(repo string) {
	m.own()
	delete(m.Repos, repo)
	delete(m.Logins, repo)
}

func (m *Meta) prove(repo string, at time.Time, login string) {
	m.Repos[repo] = at
	delete(m.Logins, repo)
	switch {
	case login == "":
	case m.Logins == nil:
		m.Logins = map[string]string{repo: login}
	default:
		m.Logins[repo] = login
	}
}

// own makes m's maps its own: a Meta that is copied shares them.
func (m *Meta) own() {
	repos := make(map[string]time.Time, len(m.Repos)+1)
	maps.Copy(repos, m.Repos)
	m.Repos, m.Logins = repos, maps.Clone(m.Logins)
}

// maxRepos bounds how many repositories are remembered for one content. The access
// of one that is dropped is proved anew at its next request.
const maxRepos = 1000

// shed drops the repositories whose proofs are the oldest, where there are too many.
func (m *Meta) shed() {
	for len(m.Repos) > maxRepos {
		oldest, when := "", time.Time{}
		for repo, at := range m.Repos {
			if oldest == "" || at.Before(when) {
				oldest, when = repo, at
			}
		}
		delete(m.Repos, oldest)
		delete(m.Logins, oldest)
	}
}

// A sidecar is the file beside a blob.
type sidecar struct {
	Meta
	Size *int64 `json:"size,omitempty"` // of the blob, to notice one that was cut short
}

// maxSidecar limits a sidecar that is read; a Repos of ten thousand entries fits.
const maxSidecar = 1 << 20

// encodeSidecar returns the file beside a blob.
func encodeSidecar(meta Meta, size int64) []byte {
	text, err := json.Marshal(sidecar{meta, &size})
	if err != nil { // a time outside of the years 0 to 9999
		meta.Added, meta.Repos, meta.Logins = time.Time{}, nil, nil
		text, _ = json.Marshal(sidecar{meta, &size})
	}
	return append(text, '\n')
}

// decodeSidecar reads the file beside a blob. A file that is not whole says
// nothing: half of the repositories that may read something is worse than none.
func decodeSidecar(text []byte) (meta Meta, size int64, err error) {
	var c sidecar
	if err := json.Unmarshal(text, &c); err != nil {
		return Meta{}, -1, err
	}
	if c.Size == nil {
		return c.Meta, -1, nil
	}
	if *c.Size < 0 {
		return Meta{}, -1, fmt.Errorf("a size of %d", *c.Size)
	}
	return c.Meta, *c.Size, nil
}

// readSidecar reads the file beside a blob into buf when it fits; size is -1 when
// it is not known.
func (r *rooted) readSidecar(path string, buf []byte) (meta Meta, size int64, err error) {
	f, err := r.open(path)
	if err != nil {
		return Meta{}, -1, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	text := buf[:n]
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
	case nil:
		rest, err := io.ReadAll(io.LimitReader(f, maxSidecar))
		if err != nil {
			return Meta{}, -1, err
		}
		text = append(append([]byte(nil), text...), rest...)
	default:
		return Meta{}, -1, err
	}
	return decodeSidecar(text)
}
