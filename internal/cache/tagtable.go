package cache

import (
	"encoding/json"
	"hash/maphash"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// A tagKey is a tag as clients of one kind see it.
type tagKey struct {
	fill.Repository
	tag    string
	accept wire.Accepts
}

// image returns the name that a person would type.
func (k tagKey) image() string { return k.Repository.String() + ":" + k.tag }

// record returns the name of the tag's record.
func (k tagKey) record() string { return k.image() + " accept=" + strconv.Itoa(int(k.accept)) }

// A tag is what an upstream last said of one, and what has come of asking since.
// It is not changed once it is made.
type tag struct {
	digest    digest.Digest
	mediaType string
	size      int64 // -1 if unknown
	private   bool
	login     string // that it took
	entity    string // the entity tag it came with, and whose that is; empty if there was none
	confirmed time.Time
	saved     time.Time // when it was last written down

	failed time.Time // when no upstream could say, after confirmed; else zero
	err    error     // why not
}

// entityOf returns the entity tag of an answer, and whose it is: two upstreams may
// use the same tag for different things. A weak one proves nothing of bytes
// (RFC 9110 8.8.1).
func entityOf(resp pullchain.Response) string {
	entity, server := resp.Header.Get("Etag"), pullchain.ServedBy(resp.Attempts)
	if entity == "" || server == "" || strings.HasPrefix(entity, "W/") {
		return ""
	}
	return server + " " + entity
}

// complete reports whether t is enough to answer a HEAD. No manifest is empty.
func (t *tag) complete() bool { return t.size > 0 && t.mediaType != "" }

// A tagRecord is a tag as it is kept, so that tags are known after a restart with
// every upstream down.
type tagRecord struct {
	Registry  string        `json:"registry"`
	Repo      string        `json:"repo"`
	Tag       string        `json:"tag"`
	Accept    wire.Accepts  `json:"accept"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
	Private   bool          `json:"private"`
	Login     string        `json:"login,omitempty"`
	Entity    string        `json:"entity,omitempty"`
	Confirmed time.Time     `json:"confirmed"`
}

func (r tagRecord) key() tagKey {
	return tagKey{fill.Repository{Registry: r.Registry, Name: r.Repo}, r.Tag, r.Accept}
}

// tagKind is the kind of the records.
const tagKind = "tag"

// readTag returns the record in content, if it is one.
func readTag(content []byte) (tagRecord, bool) {
	var r tagRecord
	if err := json.Unmarshal(content, &r); err != nil {
		return r, false
	}
	_, err := wire.CheckDigest(r.Digest.String())
	return r, err == nil
}

// tagsKept bounds the tags in memory; the records of all are in the store.
const tagsKept = 32 << 10

// A tagTable is what tags mean. It is safe for concurrent use.
type tagTable struct {
	store *blobstore.Store
	life  *life
	log   *slog.Logger
	known *otter.Cache[tagKey, *tag]

	// A key's is held while its record is read, written or removed, so that the
	// newest is the last. Many share one, so that few wait for the disk of another.
	records [64]sync.Mutex
	seed    maphash.Seed
	counted tagCount
}

func newTagTable(store *blobstore.Store, alive *life, log *slog.Logger) *tagTable {
	return &tagTable{
		store: store, life: alive, log: log, seed: maphash.MakeSeed(),
		known: otter.Must(&otter.Options[tagKey, *tag]{MaximumSize: tagsKept}),
	}
}

// recordOf returns the lock of key's record.
func (tt *tagTable) recordOf(key tagKey) *sync.Mutex {
	return &tt.records[maphash.Comparable(tt.seed, key)%uint64(len(tt.records))]
}

// find returns what is known of key, or nil.
func (tt *tagTable) find(key tagKey) *tag {
	if t, ok := tt.known.GetIfPresent(key); ok {
		return t
	}
	if key.Holder != "" { // of what its login was told nothing is written down
		return nil
	}
	return tt.load(key)
}

// load finds key in the store.
func (tt *tagTable) load(key tagKey) *tag {
	record := tt.recordOf(key)
	record.Lock() // what is being forgotten must not come back
	defer record.Unlock()
	if t, ok := tt.known.GetIfPresent(key); ok {
		return t
	}
	content, err := tt.store.Record(tagKind, key.record())
	if err != nil {
		return nil
	}
	r, ok := readTag(content)
	if !ok || r.key() != key {
		return nil
	}
	t := &tag{
		digest: r.Digest, mediaType: r.MediaType, size: r.Size, private: r.Private, login: r.Login, entity: r.Entity,
		confirmed: r.Confirmed, saved: r.Confirmed,
	}
	if newer, stored := tt.known.SetIfAbsent(key, t); !stored {
		return newer
	}
	return t
}

// saveEvery bounds how often a record is written of which only the time of its
// confirmation is new.
const saveEvery = 10 * time.Minute

// put makes t what is known of key.
func (tt *tagTable) put(key tagKey, t tag) {
	old, known := tt.known.GetIfPresent(key)
	same := known && old.digest == t.digest && old.mediaType == t.mediaType && old.size == t.size &&
		old.private == t.private && old.login == t.login && old.entity == t.entity
	if same && !t.confirmed.Before(old.saved) && t.confirmed.Sub(old.saved) < saveEvery {
		t.saved = old.saved
		tt.known.Set(key, &t)
		return
	}
	t.saved = t.confirmed
	tt.known.Set(key, &t)
	if key.Holder != "" {
		return
	}
	tt.life.spawn(func() { tt.write(key) })
}

func (tt *tagTable) write(key tagKey) {
	record := tt.recordOf(key)
	record.Lock()
	defer record.Unlock()
	t, ok := tt.known.GetIfPresent(key)
	if !ok {
		return
	}
	content, err := json.Marshal(tagRecord{
		Registry: key.Registry, Repo: key.Name, Tag: key.tag, Accept: key.accept,
		Digest: t.digest, MediaType: t.mediaType, Size: t.size, Private: t.private, Login: t.login, Entity: t.entity, Confirmed: t.confirmed,
	})
	if err == nil {
		err = tt.store.PutRecord(tt.life.ctx, tagKind, key.record(), content)
	}
	unkept(tt.log, "tag is not recorded", err, "image", key.image())
}

// forget makes key unknown, here and after a restart.
func (tt *tagTable) forget(key tagKey) {
	record := tt.recordOf(key)
	record.Lock()
	defer record.Unlock()
	tt.known.Invalidate(key)
	if key.Holder != "" {
		return
	}
	if err := tt.store.DeleteRecord(tagKind, key.record()); err != nil {
		tt.log.Debug("record of a tag is not removed", "image", key.image(), "error", err)
	}
}

// all calls each with every tag that is recorded or known.
func (tt *tagTable) all(each func(tagKey, digest.Digest)) {
	seen := make(map[tagKey]bool)
	for key, t := range tt.known.All() {
		seen[key] = true
		each(key, t.digest)
	}
	for _, content := range tt.store.Records(tagKind) {
		if r, ok := readTag(content); ok && !seen[r.key()] {
			each(r.key(), r.Digest)
		}
	}
}
