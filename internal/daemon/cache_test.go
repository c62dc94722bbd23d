package daemon_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/simnet"
)

// kept is a pair with a cache of its own.
type kept struct {
	*pair
	dir string
}

// unaided is a key of an upstream that keeps connections from being added for
// speed, as they would be on a machine that is slow: requests and bytes are
// counted.
const unaided = "metered = true"

// newKept starts a pair with a cache. change may alter the configuration; nil
// changes nothing.
func newKept(t *testing.T, change func(*rigConfig)) *kept {
	t.Helper()
	k := &kept{dir: filepath.Join(t.TempDir(), "cache")}
	k.pair = newPair(t, func(c *rigConfig) {
		for i := range c.Chain {
			c.Chain[i].Keys = unaided
		}
		c.Cache = cacheIn(k.dir)
		if change != nil {
			change(c)
		}
	})
	k.probed("a", "b")
	return k
}

// cacheIn is the [cache] table of a cache in dir.
func cacheIn(dir string) string { return fmt.Sprintf("dir = %q", dir) }

// upstreamRequests counts what both upstreams were asked for, probes apart.
func (k *kept) upstreamRequests() int {
	return k.asked("", "", simnet.Manifests|simnet.Blobs)
}

// wantNoMore runs what the caller does, and fails the test if an upstream hears
// of it.
func (k *kept) wantNoMore(what string, do func()) {
	k.t.Helper()
	before := k.upstreamRequests()
	do()
	if n := k.upstreamRequests() - before; n != 0 {
		k.t.Errorf("%s: %d requests to an upstream, want none", what, n)
	}
}

// pull gets all of alpine as a client does.
func (k *kept) pull() {
	k.t.Helper()
	k.manifest()
	config := k.image.Configs[0]
	k.wantBytes(k.image.BlobPath(config.Digest), k.image.Blobs[config.Digest])
	k.blob(0)
	k.blob(1)
}

// stored waits until all of alpine is in the cache: what a client has its last
// byte of is synced to the disk a moment later.
func (k *kept) stored() {
	k.t.Helper()
	k.eventually("everything is in the cache", func() bool {
		s := k.Daemon.Snapshot().Cache
		return s.Scanned && s.Objects == 4 && s.Partial == 0
	})
}

// file returns where the cache keeps d.
func (k *kept) file(d digest.Digest) string {
	k.t.Helper()
	var found string
	err := filepath.WalkDir(k.dir, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == d.Encoded() {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		k.t.Fatalf("no file of %s in the cache: %v", d, err)
	}
	return found
}

// wantCache fails the test unless the answer says that this is what the cache had
// to do with it.
func (k *kept) wantCache(got reply, says string) {
	k.t.Helper()
	if status := got.Header.Get("Cache-Status"); !strings.HasPrefix(status, "pullchain; "+says) {
		k.t.Errorf("%s: Cache-Status %q, want %q", got.Request, status, says)
	}
}

// An image that was pulled once is pulled again without any upstream: whole, in
// parts, and by its headers alone.
func TestCache_Warm(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	k.pull()
	if n := k.asked("", "GET", simnet.Blobs); n != 3 {
		t.Errorf("the first pull took %d requests for 3 blobs", n)
	}
	k.stored()
	layer, content := k.image.Layer(1)
	path := k.image.BlobPath(layer.Digest)
	k.wantNoMore("a second pull", func() {
		k.pull()
		k.wantCache(k.manifest(), "hit")
		k.wantCache(k.blob(1), "hit")
		k.wantBytes(k.image.ManifestPath(k.image.Root.Digest.String()), k.image.Manifest())
	})
	k.wantNoMore("HEAD", func() {
		for _, path := range []string{path, k.image.Path(), k.image.ManifestPath(k.image.Root.Digest.String())} {
			got := k.do(http.MethodHead, path)
			if got.Status != http.StatusOK || got.Header.Get("Docker-Content-Digest") == "" || got.Header.Get("Content-Length") == "0" {
				t.Errorf("HEAD %s: %d, %v", path, got.Status, got.Header)
			}
			k.wantCache(got, "hit")
		}
	})
	k.wantNoMore("ranges", func() {
		size := len(content)
		for _, r := range []struct {
			header   string
			from, to int
		}{
			{"bytes=0-0", 0, 1}, {"bytes=1000-99999", 1000, 100000}, {fmt.Sprintf("bytes=%d-", size-5), size - 5, size},
			{"bytes=-7", size - 7, size}, {fmt.Sprintf("bytes=100-%d", size+1000), 100, size},
		} {
			got := k.get(path, "Range", r.header)
			says := fmt.Sprintf("bytes %d-%d/%d", r.from, r.to-1, size)
			if got.Status != http.StatusPartialContent || got.Header.Get("Content-Range") != says || !bytes.Equal(got.Body, content[r.from:r.to]) {
				t.Errorf("%s: %d, %q, %d bytes", r.header, got.Status, got.Header.Get("Content-Range"), len(got.Body))
			}
		}
		if got := k.get(path, "Range", fmt.Sprintf("bytes=%d-", size)); got.Status != http.StatusRequestedRangeNotSatisfiable ||
			got.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
			t.Errorf("beyond the end: %d, %q", got.Status, got.Header.Get("Content-Range"))
		}
	})
	if s := k.Daemon.Snapshot().Cache; s.SavedBytes < int64(len(content)) || s.Hits == 0 || s.Dir != k.dir {
		t.Errorf("people are told %+v", s)
	}
}

// A restart keeps what was fetched, and reads it before it is believed.
func TestCache_Restart(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	k.pull()
	k.stored()
	k.restart()
	k.probed("a", "b")
	k.wantNoMore("a pull after a restart", func() {
		k.wantBytes(k.image.ManifestPath(k.image.Root.Digest.String()), k.image.Manifest())
		k.wantCache(k.blob(0), "hit")
		k.wantCache(k.blob(1), "hit")
	})
}

// F34 What the disk has spoilt is found out before a client gets it whole,
// quarantined, and fetched within the same request.
func TestF34_CorruptFile(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	k.pull()
	k.stored()
	layer, content := k.image.Layer(1)
	k.restart()
	k.probed("a", "b")
	path := k.file(layer.Digest)
	spoilt := bytes.Clone(content)
	spoilt[len(spoilt)-100] ^= 1
	if err := os.WriteFile(path, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	k.blob(1)
	k.eventually("it is there again", func() bool {
		now, err := os.ReadFile(path)
		return err == nil && bytes.Equal(now, content)
	})
	if s := k.Daemon.Snapshot().Cache; s.Corrupt != 1 {
		t.Errorf("people are told of %d corrupt files", s.Corrupt)
	}
	k.wantNoMore("then", func() { k.blob(1) })
	for _, name := range []string{"a", "b"} {
		if l := k.lane(name); l.State == balancer.StateQuarantined {
			t.Errorf("%s is blamed for it", name)
		}
	}
}

// A reload keeps the cache open and what it has; its times change at once, and
// what cannot is told.
func TestCache_Reload(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	k.pull()
	k.stored()
	k.rewrite(`name = "b"`, "name = \"b\"\nweight = 2.5")
	if err := k.hangup(); err != nil {
		t.Fatal(err)
	}
	k.wantNoMore("a pull after a reload", k.pull)

	k.rewrite(cacheIn(k.dir), cacheIn(k.dir)+"\ntag_ttl = \"1ns\"")
	if err := k.hangup(); err != nil {
		t.Fatal(err)
	}
	heads := k.asked("", "HEAD", simnet.Manifests)
	k.manifest()
	if n := k.asked("", "HEAD", simnet.Manifests) - heads; n != 1 {
		t.Errorf("%d requests for a tag that is believed for no time, want a HEAD", n)
	}
	if strings.Contains(k.log.String(), "takes a restart") {
		t.Error("a restart is asked for, for no reason")
	}

	k.rewrite(cacheIn(k.dir), cacheIn(k.dir)+"\nmax_size = \"20MiB\"")
	if err := k.hangup(); err != nil {
		t.Fatal(err)
	}
	if s := k.Daemon.Snapshot().Cache; s.Limit != 20<<20 {
		t.Errorf("the limit is %d, want the new one", s.Limit)
	}

	k.rewrite(cacheIn(k.dir), cacheIn(k.dir+"2"))
	if err := k.hangup(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(k.log.String(), "takes a restart") {
		t.Error("the log does not tell that another directory takes a restart")
	}
	k.wantNoMore("a blob of the directory that was", func() { k.blob(1) })
}

// Two daemons with one directory: the second one runs without a cache, and says
// so.
func TestCache_Locked(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	k.pull()
	k.stored()
	second := newRig(t, rigConfig{Net: k.net, Chain: []lane{{Name: "a", URL: k.a.URL()}}, Cache: cacheIn(k.dir)})
	second.probed("a")
	before := k.asked("a", "GET", simnet.Blobs)
	layer, content := k.image.Layer(1)
	for range 2 {
		second.wantBytes(k.image.Path(), k.image.Manifest())
		second.wantBytes(k.image.BlobPath(layer.Digest), content)
	}
	if n := k.asked("a", "GET", simnet.Blobs) - before; n != 2 {
		t.Errorf("%d requests for a blob that was asked for twice without a cache", n)
	}
	const why = "another pullchain uses this cache directory"
	s := second.Daemon.Snapshot()
	if s.Cache == nil || s.Cache.Dir != k.dir || !strings.Contains(s.Cache.Trouble, why) || s.Summary.Level != admin.LevelDegraded || !strings.Contains(s.Summary.Text, why) {
		t.Errorf("people are told %+v, %+v", s.Cache, s.Summary)
	}
	if _, table := second.admin("/"); !strings.Contains(table, "There is no cache: ") {
		t.Errorf("the table:\n%s", table)
	}
	if status, body := second.admin("/api/v1/cache"); status != http.StatusNotFound || !strings.Contains(body, "cache_off") || !strings.Contains(body, why) {
		t.Errorf("the API: %d %s", status, body)
	}
	if status, _ := second.admin("/-/readyz"); status != http.StatusOK {
		t.Errorf("not ready, with %d: it serves as well as without a cache", status)
	}
	if log := second.log.String(); strings.Count(log, "there is no cache") != 1 || !strings.Contains(log, "give each pullchain a directory of its own") {
		t.Error("the log does not say, once, what to do about it")
	}
	k.wantNoMore("the first one meanwhile", k.pull)
}

// F33 A directory that cannot be had stops nothing.
func TestF33_NoDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a file": file, "below a file": filepath.Join(file, "cache")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, func(c *rigConfig) { c.Cache = cacheIn(dir) })
			p.probed("a", "b")
			p.manifest()
			p.blob(1)
			p.blob(1)
			s := p.Daemon.Snapshot()
			if s.Cache == nil || s.Cache.Trouble == "" || s.Summary.Level != admin.LevelDegraded {
				t.Errorf("people are told %+v, %+v", s.Cache, s.Summary)
			}
			if log := p.log.String(); strings.Count(log, "there is no cache") != 1 || !strings.Contains(log, "name another directory") {
				t.Error("the log does not say, once, what to do about it")
			}
		})
	}
}

// A cache directory with a link in it that leads elsewhere is refused with its path, nothing
// is written there, and pulls go on.
func TestF58_LinkedShard(t *testing.T) {
	t.Parallel()
	dir, elsewhere := filepath.Join(t.TempDir(), "cache"), t.TempDir()
	link := filepath.Join(dir, "blobs", "sha256", "ab")
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	p := newPair(t, func(c *rigConfig) { c.Cache = cacheIn(dir) })
	p.probed("a", "b")
	p.manifest()
	p.blob(1)
	s := p.Daemon.Snapshot()
	if s.Cache == nil || !strings.Contains(s.Cache.Trouble, link+" should be a folder and is a symbolic link") || s.Summary.Level != admin.LevelDegraded {
		t.Errorf("people are told %+v, %+v", s.Cache, s.Summary)
	}
	if found, err := os.ReadDir(elsewhere); err != nil || len(found) != 0 {
		t.Errorf("elsewhere there is %v, %v", found, err)
	}
}

// F35 A drain puts away what a fill has, and the next daemon goes on from there.
func TestF35_DrainSuspends(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	k.image = k.a.Push(big)
	k.manifest()
	undo := k.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 1 << 20})
	path, content := k.layer()
	resp := k.open(path)
	if _, err := io.ReadFull(resp.Body, make([]byte, cutAt)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // its fill goes on in the background
	k.restart()
	undo()
	k.probed("a", "b")
	if s := k.Daemon.Snapshot().Cache; s.Partial != 1 || s.PartialBytes < cutAt/2 {
		t.Errorf("after the restart %d partial blobs with %d bytes", s.Partial, s.PartialBytes)
	}
	before := k.net.Ledger().Bytes(simnet.Filter{Class: simnet.Blobs})
	k.wantBytes(path, content)
	sent := k.net.Ledger().Bytes(simnet.Filter{Class: simnet.Blobs}) - before
	if most := int64(len(content) - cutAt/2); sent > most {
		t.Errorf("%d bytes were fetched again, of which no more than %d were missing", sent, most)
	}
}

// F38 With no upstream at all a warm cache serves by tag and by digest, and tells.
func TestF38_Offline(t *testing.T) {
	t.Parallel()
	k := newKept(t, func(c *rigConfig) { c.Cache += "\ntag_ttl = \"1ns\"" })
	k.pull()
	k.stored()
	k.a.Inject(simnet.Fault{Status: http.StatusBadGateway})
	k.b.Inject(simnet.Fault{Status: http.StatusBadGateway})
	for _, when := range []string{"at once", "after a restart"} {
		got := k.manifest()
		k.wantCache(got, "hit; ttl=")
		if warning := got.Header.Get("Warning"); !strings.HasPrefix(warning, "299 ") || !strings.Contains(warning, "cache") {
			t.Errorf("%s: Warning %q", when, warning)
		}
		k.pull()
		k.wantBytes(k.image.ManifestPath(k.image.Root.Digest.String()), k.image.Manifest())
		k.restart()
	}
}

// post sends a wish to the operator's plane, and decodes the answer into out.
func (r *rig) post(path, body string, out any) int {
	r.t.Helper()
	resp, err := r.client.Post("http://"+r.Daemon.AdminAddr()+path, "application/json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	return resp.StatusCode
}

// What an operator does to the cache, by the API of the running daemon.
func TestCache_Operator(t *testing.T) {
	t.Parallel()
	k := newKept(t, nil)
	k.pull()
	k.stored()
	const image = `"docker.io/library/alpine:3"`
	var objects admin.CacheObjects
	if _, body := k.admin("/api/v1/cache/objects?q=alpine"); json.Unmarshal([]byte(body), &objects) != nil || objects.Total != 4 {
		t.Errorf("the objects of alpine: %s", body)
	}
	var sum admin.CacheVerified
	if status := k.post("/api/v1/cache:verify", "{}", &sum); status != http.StatusOK || sum.Objects != 4 || sum.Wrong != 0 || !sum.Done {
		t.Errorf("verify: %d %+v", status, sum)
	}
	var change cache.Change
	if status := k.post("/api/v1/cache:pin", `{"what":`+image+`,"pinned":true}`, &change); status != http.StatusOK || change.Objects != 4 {
		t.Errorf("pin: %d %+v", status, change)
	}
	if s := k.Daemon.Snapshot().Cache; s.PinnedBytes != s.Bytes || s.Bytes == 0 {
		t.Errorf("%d of %d bytes are pinned", s.PinnedBytes, s.Bytes)
	}
	var freed admin.CacheFreed
	if status := k.post("/api/v1/cache:gc", "{}", &freed); status != http.StatusOK {
		t.Errorf("gc: %d %+v", status, freed)
	}
	if status := k.post("/api/v1/cache:evict", `{"what":`+image+`}`, &change); status != http.StatusOK || change.Objects != 4 {
		t.Errorf("evict: %d %+v", status, change)
	}
	var problem struct{ Code string }
	if status := k.post("/api/v1/cache:evict", `{"what":`+image+`}`, &problem); status != http.StatusNotFound || problem.Code != "not_cached" {
		t.Errorf("evict again: %d %+v", status, problem)
	}
	before := k.upstreamRequests()
	k.pull()
	if n := k.upstreamRequests() - before; n < 4 {
		t.Errorf("%d requests to an upstream after all was evicted", n)
	}
}
