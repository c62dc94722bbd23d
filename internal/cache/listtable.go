package cache

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/fill"
	"github.com/pullchain/pullchain/internal/wire"
)

// A listKey is a page of a list as clients ask for it, or a tag that another image's
// name is in: what goes with an image (signatures, attestations, SBOMs).
type listKey struct {
	fill.Repository
	op     pullchain.Op
	digest digest.Digest // of referrers: the subject
	tag    string        // of a manifest
	query  string
}

// record returns the name of the list's record.
func (k listKey) record() string {
	return k.Repository.String() + " " + k.op.String() + " " + k.digest.String() + " " + k.tag + "?" + k.query
}

// A list is what an upstream last said of one. It is not changed once it is made.
type list struct {
	Body      []byte      `json:"-"`
	Packed    []byte      `json:"body,omitempty"` // Body by gzip, in a record
	MediaType string      `json:"mediaType"`
	Header    http.Header `json:"header,omitempty"`
	None      bool        `json:"none,omitempty"` // there is no such list, or no such tag
	Status    int         `json:"status"`
	Private   bool        `json:"private,omitempty"`
	Login     string      `json:"login,omitempty"` // that it took
	Confirmed time.Time   `json:"confirmed"`

	saved  time.Time // when it was last written down
	failed time.Time // when no upstream could say, after Confirmed; else zero
	err    error     // why not
}

// listKind is the kind of the records, and listBytes bounds what is kept in memory of all.
// Beyond listsKept no more are written: clients can ask for pages at will.
const (
	listKind  = "list"
	listBytes = 16 << 20
	listsKept = 4 << 10
)

// A listTable is what lists had in them. It is safe for concurrent use.
type listTable struct {
	store *blobstore.Store
	life  *life
	log   *slog.Logger
	known *otter.Cache[listKey, *list]

	records struct { // what is written down
		sync.Mutex // held while a record is written or removed, so that the newest is the last
		counted    bool
		n          int
	}
}

func newListTable(store *blobstore.Store, alive *life, log *slog.Logger) *listTable {
	return &listTable{store: store, life: alive, log: log, known: otter.Must(&otter.Options[listKey, *list]{
		MaximumWeight: listBytes,
		Weigher:       func(k listKey, l *list) uint32 { return uint32(512 + len(k.query) + len(l.Body)) },
	})}
}

// find returns what is known of key, or nil.
func (lt *listTable) find(key listKey) *list {
	if l, ok := lt.known.GetIfPresent(key); ok {
		return l
	}
	content, err := lt.store.Record(listKind, key.record())
	if err != nil {
		return nil
	}
	l := new(list)
	if err := json.Unmarshal(content, l); err != nil {
		return nil
	}
	if l.Body, err = unpack(l.Packed); err != nil {
		return nil
	}
	l.Packed, l.saved = nil, l.Confirmed
	if newer, stored := lt.known.SetIfAbsent(key, l); !stored {
		return newer
	}
	return l
}

// put makes l what is known of key, here and, where it is small enough, after a restart. What is
// confirmed as it was is written once in saveEvery.
func (lt *listTable) put(key listKey, l *list) {
	if old, known := lt.known.GetIfPresent(key); known && old.None == l.None && old.Login == l.Login && bytes.Equal(old.Body, l.Body) {
		if since := l.Confirmed.Sub(old.saved); since >= 0 && since < saveEvery {
			l.saved = old.saved
			lt.known.Set(key, l)
			return
		}
	}
	l.saved = l.Confirmed
	lt.known.Set(key, l)
	lt.life.spawn(func() { lt.write(key) })
}

func (lt *listTable) write(key listKey) {
	lt.records.Lock()
	defer lt.records.Unlock()
	l, ok := lt.known.GetIfPresent(key)
	if !ok || !lt.hasRoom(key) {
		return
	}
	kept := *l
	kept.Packed = packed(l.Body)
	content, err := json.Marshal(kept)
	if err != nil || len(content) > blobstore.MaxRecord {
		return // it is known until the process ends
	}
	unkept(lt.log, "list is not recorded", lt.store.PutRecord(lt.life.ctx, listKind, key.record(), content), "list", key.record())
}

// hasRoom reports whether the record of key is there, or one more can be.
func (lt *listTable) hasRoom(key listKey) bool {
	r := &lt.records
	if !r.counted {
		for range lt.store.Records(listKind) {
			r.n++
		}
		r.counted = true
	}
	if _, err := lt.store.Record(listKind, key.record()); err == nil {
		return true
	}
	if r.n >= listsKept {
		return false
	}
	r.n++
	return true
}

// forget makes key unknown, here and after a restart.
func (lt *listTable) forget(key listKey) {
	lt.records.Lock()
	defer lt.records.Unlock()
	lt.known.Invalidate(key)
	if err := lt.store.DeleteRecord(listKind, key.record()); err != nil {
		lt.log.Debug("record of a list is not removed", "list", key.record(), "error", err)
	}
}

func packed(body []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(body) // a Buffer takes all
	_ = w.Close()
	return out.Bytes()
}

func unpack(content []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, wire.MaxManifest))
}
