package blobstore

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"time"
)

// Meta is what is kept about content beside its bytes. One that is lost or
// unreadable is empty: the content is then private to nobody, and its type is not
// known.
type Meta struct {
	MediaType string               `json:"mediaType,omitempty"` // of a manifest; empty for blobs
	Public    bool                 `json:"public,omitempty"`    // an anonymous fetch has proved that everybody may read it
	Repos     map[string]time.Time `json:"repos,omitempty"`     // "registry/repository" -> when its access was last proved
	Pinned    bool                 `json:"pinned,omitempty"`    // never evicted
	Added     time.Time            `json:"added"`               // when it was stored; set by the store when zero
}

// equal reports whether two Metas say the same.
func (m Meta) equal(o Meta) bool {
	return m.MediaType == o.MediaType && m.Public == o.Public && m.Pinned == o.Pinned && m.Added.Equal(o.Added) &&
		maps.EqualFunc(m.Repos, o.Repos, time.Time.Equal)
}

// merged returns what is known of content that is stored a second time: what
// was proved stays proved.
func (m Meta) merged(newer Meta) Meta {
	if newer.MediaType != "" {
		m.MediaType = newer.MediaType
	}
	m.Public = m.Public || newer.Public
	m.Pinned = m.Pinned || newer.Pinned
	if len(newer.Repos) > 0 {
		repos := maps.Clone(m.Repos)
		if repos == nil {
			repos = make(map[string]time.Time, len(newer.Repos))
		}
		for repo, proved := range newer.Repos {
			if proved.After(repos[repo]) {
				repos[repo] = proved
			}
		}
		m.Repos = repos
	}
	return m
}

// A card is the file beside a blob.
type card struct {
	Meta
	Size *int64 `json:"size,omitempty"` // of the blob, to notice one that was cut short
}

// maxCard limits a card that is read; a Repos of ten thousand entries fits.
const maxCard = 1 << 20

// encodeCard returns the file beside a blob.
func encodeCard(meta Meta, size int64) []byte {
	text, err := json.Marshal(card{meta, &size})
	if err != nil { // a time outside of the years 0 to 9999
		meta.Added, meta.Repos = time.Time{}, nil
		text, _ = json.Marshal(card{meta, &size})
	}
	return append(text, '\n')
}

// decodeCard reads the file beside a blob. A file that is not whole says
// nothing: half of what is known of who may read something is worse than none.
func decodeCard(text []byte) (meta Meta, size int64, err error) {
	var c card
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

// readCard reads the file beside a blob into buf when it fits; size is -1 when
// it is not known.
func readCard(path string, buf []byte) (meta Meta, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return Meta{}, -1, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	text := buf[:n]
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
	case nil:
		rest, err := io.ReadAll(io.LimitReader(f, maxCard))
		if err != nil {
			return Meta{}, -1, err
		}
		text = append(append([]byte(nil), text...), rest...)
	default:
		return Meta{}, -1, err
	}
	return decodeCard(text)
}
