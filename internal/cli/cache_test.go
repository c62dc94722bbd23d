package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// store is the image that these tests keep: two platforms and an attestation, and
// a layer that takes a while where it is slow.
var store = simnet.Image{
	Repo: "library/redis", Tags: []string{"8"}, Platforms: []string{"linux/amd64", "linux/arm64", "unknown/unknown"},
	Layers: []simnet.Layer{simnet.BigLayer(2<<20, 1), {Size: 1 << 10, Seed: 2}},
}

// A shelf is a hub and a configuration with a cache of its own.
type shelf struct {
	net     *simnet.Net
	hub     *simnet.Hub
	content *simnet.Content
	config  string // path
	dir     string // of the cache
	nobody  string // the admin.listen of config: nothing answers there
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	n := simnet.New(simnet.Config{Plain: true})
	t.Cleanup(n.Close)
	s := &shelf{net: n, dir: filepath.Join(t.TempDir(), "cache"), nobody: deadPort(n), content: n.Build(store)}
	s.hub = n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{store, small}, Open: true, Direct: true})
	s.config = file(t, "pullchain.toml", s.toml(s.nobody))
	return s
}

// toml is a configuration with the operator's plane at admin.
func (s *shelf) toml(admin string) string {
	text := strings.Replace(configOf(s.hub.URL(), ""), "enabled = false", fmt.Sprintf("dir = %q", s.dir), 1)
	text += "metered = true\n" // no second connection helps a slow fetch, so that what is fetched can be counted to the byte
	return strings.Replace(text, "[admin]\nlisten = \"127.0.0.1:0\"", fmt.Sprintf("[admin]\nlisten = %q", admin), 1)
}

// cache runs `pullchain cache …` with the shelf's configuration.
func (s *shelf) cache(t *testing.T, args ...string) result {
	t.Helper()
	return run(t.Context(), append([]string{"cache", "-c", s.config}, args...))
}

// blobs is how many blobs the hub was asked for, and how many bytes it sent of them.
func (s *shelf) blobs(t *testing.T) (requests int, bytes int64) {
	t.Helper()
	if err := s.net.Ledger().WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	filter := simnet.Filter{Method: "GET", Class: simnet.Blobs}
	return s.net.Ledger().Count(filter), s.net.Ledger().Bytes(filter)
}

// size is how many bytes all blobs of the content have.
func (s *shelf) size() int64 {
	sum := int64(0)
	for _, b := range s.content.Blobs {
		sum += int64(len(b))
	}
	return sum
}

// deadPort returns an address where connections are refused. The port is taken, so
// that no server of another test is given it.
func deadPort(n *simnet.Net) string {
	s := n.AddOrigin(simnet.Origin{Name: "nobody"})
	s.Break(simnet.ConnRefused)
	return s.Addr()
}

// want fails unless a command ended so, and said so.
func (r result) want(t *testing.T, what string, code int, out ...string) {
	t.Helper()
	for _, text := range out {
		if !regexp.MustCompile("(?m)" + text).MatchString(r.out + r.errors) {
			t.Errorf("%s does not say %q", what, text)
			code = -1
		}
	}
	if r.code != code {
		t.Errorf("%s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", what, r.code, code, r.out, r.errors)
	}
}

// Without a daemon, warm is one for its own time, and the other commands look into
// the directory.
func TestCacheWithoutDaemon(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.cache(t, "stat").want(t, "stat before", 1, "there is no cache at "+s.dir+" yet")
	s.cache(t, "warm", "redis:8", "docker.io/library/redis:8").want(t, "warm", 0, `^docker.io/library/redis:8: ok, 9 of 9 blobs fetched, \d`)
	if n, bytes := s.blobs(t); bytes != s.size() {
		t.Errorf("the hub sent %d bytes in %d answers for %d", bytes, n, s.size())
	}
	s.net.Ledger().Reset()
	s.cache(t, "warm", "redis:8").want(t, "warm again", 0, `redis:8: was there \(9 blobs, `)
	if n, _ := s.blobs(t); n != 0 {
		t.Errorf("the hub was asked for %d blobs that were there", n)
	}

	s.cache(t, "stat").want(t, "stat", 0, "^"+s.dir+", used by no pullchain now$", `^content     6\.\d MiB of .* in 13 objects, 0 B pinned$`, `^tags        1 known`)
	s.cache(t, "ls").want(t, "ls", 0, `^DIGEST +KIND +SIZE +LAST USED +ACCESS +PIN +IMAGES$`, `^[0-9a-f]{12}  blob +2\.0 MiB  20.*  public +docker.io/library/redis:8`, "^13 objects, 6")
	s.cache(t, "ls", "nothing like it").want(t, "ls of nothing", 0, "^0 objects, 0 B$")
	s.cache(t, "ls", "-n", "2").want(t, "ls of two", 0, "^the first 2 of 13 objects")
	s.cache(t, "pin", "redis:8").want(t, "pin", 0, `^docker.io/library/redis:8: 13 objects pinned now, 6`)
	s.cache(t, "ls", "--lang", "zh").want(t, "ls in Chinese", 0, "公开  固定  docker.io/library/redis:8")
	s.cache(t, "unpin", "redis").want(t, "unpin", 0, "13 objects no longer pinned")
	s.cache(t, "gc").want(t, "gc", 0, "^0 B freed$")
	s.cache(t, "verify").want(t, "verify", 0, `^13 objects, 6\.\d MiB: 0 wrong$`)
	s.cache(t, "evict", "alpine:3.20", "redis", "UPPER").want(t, "evict", 1, "^pullchain: docker.io/library/alpine:3.20 is not in the cache", "docker.io/library/redis: 13 objects evicted", `"UPPER" is neither an image nor a digest`)
	s.cache(t, "stat").want(t, "stat after", 0, `^content     0 B of .* in 0 objects`)
}

// What is wrong is found, reported and quarantined, and the next warm fetches it alone.
func TestCacheVerifyFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.cache(t, "warm", "redis:8").want(t, "warm", 0)
	layer, _ := s.content.Layer(0)
	spoil(t, s.dir, layer.Digest.Encoded())
	got := s.cache(t, "verify", "-o", "json")
	var v struct {
		Objects int
		Wrong   []struct {
			Digest, Error string
			Size          int64
		}
	}
	if err := json.Unmarshal([]byte(got.out), &v); err != nil || got.code != 8 || v.Objects != 13 || len(v.Wrong) != 1 || v.Wrong[0].Digest != layer.Digest.String() || v.Wrong[0].Size != layer.Size || v.Wrong[0].Error == "" {
		t.Errorf("exit code %d, %+v, %v\n%s", got.code, v, err, got.errors)
	}
	s.cache(t, "verify").want(t, "verify after", 0, "^12 objects, .*: 0 wrong$")
	s.net.Ledger().Reset()
	s.cache(t, "warm", "redis:8").want(t, "warm after", 0, "ok, 1 of 9 blobs fetched, 2.0 MiB of 6")
	if n, bytes := s.blobs(t); bytes != layer.Size {
		t.Errorf("the hub sent %d bytes in %d answers for %d", bytes, n, layer.Size)
	}
}

// spoil turns a bit over in the file of a digest.
func spoil(t *testing.T, dir, hex string) {
	t.Helper()
	spoilt := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasPrefix(filepath.Base(path), hex) || strings.HasSuffix(path, ".json") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || len(text) < 1<<20 {
			return err
		}
		spoilt++
		text[1<<20-1] ^= 1
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, text, 0o600)
	})
	if err != nil || spoilt != 1 {
		t.Fatalf("%d files spoilt: %v", spoilt, err)
	}
}

// The same through a daemon that runs: it is asked, and its directory is left alone.
func TestCacheOfADaemon(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	c := startChild(t, file(t, "running.toml", s.toml("127.0.0.1:0")))
	asked := func(args ...string) result { return s.cache(t, append(args, "--addr", c.admin)...) }
	asked("warm", "-f", file(t, "images.txt", "redis:8 # the cache\nalpine:3.20\n"), "--platform", "linux/arm64").want(t, "warm", 0,
		"^docker.io/library/redis:8: ok, 3 of 3 blobs fetched", "^docker.io/library/alpine:3.20: ok, 2 of 2 blobs fetched", `redis:8: [0-9a-f]{12}, 2\.0 MiB at \d.*/s$`)
	asked("stat").want(t, "stat", 0, "^"+s.dir+", kept by the pullchain at "+c.admin+"$", "in 8 objects", `^hits        \d+ % of \d+ answers, .* saved;`)
	asked("ls", "alpine").want(t, "ls", 0, "^3 objects, ")
	layer, _ := small.Build().Layer(0)
	asked("pin", layer.Digest.Encoded()[:12]).want(t, "pin", 0, "^"+layer.Digest.String()+": 1 object pinned now, 1.0 MiB$")
	asked("unpin", layer.Digest.String()).want(t, "unpin", 0, "1 object no longer pinned")
	asked("verify").want(t, "verify", 0, "^8 objects, .*: 0 wrong$")
	spoil(t, s.dir, layer.Digest.Encoded())
	asked("verify").want(t, "verify what is wrong", 8, `^WRONG `+layer.Digest.String()+` \(1\.0 MiB\): .*; set aside`, "^8 objects, .*: 1 wrong$")
	asked("gc").want(t, "gc", 0, " freed$")
	asked("evict", "redis", "-o", "json").want(t, "evict", 0, `"what": "docker.io/library/redis"`, `"objects": 5`)
	asked("evict", "redis", "-o", "json").want(t, "evict again", 1, `"error": "docker.io/library/redis is not in the cache`)

	locked := `another pullchain uses ` + s.dir + `, .* the one of http://` + s.nobody + `, where nobody answers`
	s.cache(t, "stat").want(t, "stat of a directory in use", 4, locked)
	s.cache(t, "warm", "alpine:3.20").want(t, "warm of a directory in use", 4, locked)
	s.cache(t, "warm", "alpine:3.20", "--mirror", c.listen).want(t, "warm by the data plane", 0, "ok, 1 of 2 blobs fetched")
}

func TestCacheRefuses(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	off := file(t, "off.toml", strings.Replace(configOf(s.hub.URL(), ""), "[admin]\nlisten = \"127.0.0.1:0\"", fmt.Sprintf("[admin]\nlisten = %q", s.nobody), 1))
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no command", []string{}, 2, "expected one of"},
		{"stat, nobody at --addr", []string{"stat", "--addr", s.nobody}, 4, "no pullchain answers at http://" + s.nobody},
		{"warm, nobody at --addr", []string{"warm", "alpine", "--addr", s.nobody}, 4, "no pullchain answers at"},
		{"stat, no cache", []string{"stat", "-c", off}, 1, `off.toml: the cache is switched off`},
		{"warm, no cache", []string{"warm", "alpine", "-c", off}, 1, `off.toml: the cache is switched off`},
		{"warm, not a directory", []string{"warm", "alpine", "-c", file(t, "x.toml", strings.Replace(s.toml(s.nobody), s.dir, s.config, 1))}, 1, "nothing can be kept: "},
		{"ls, no number", []string{"ls", "--limit=-1"}, 2, "--limit must not be negative"},
		{"evict nothing", []string{"evict"}, 2, "<what>"},
		{"warm nothing", []string{"warm"}, 2, "which images"},
		{"warm an odd name", []string{"warm", "a b"}, 2, `"a b" is no image`},
		{"warm a file that is not there", []string{"warm", "no.yaml"}, 2, "no.yaml: no such file"},
		{"warm a bad list", []string{"warm", "-f", file(t, "l.txt", "alpine\nA:B:C\n")}, 2, `l.txt:2: "A:B:C" is no image`},
		{"warm with no jobs", []string{"warm", "alpine", "-j", "0"}, 2, "--jobs must be from 1 to 64"},
		{"warm for no platform", []string{"warm", "alpine", "--platform", "a/b/c/d"}, 2, `--platform: "a/b/c/d" is no platform`},
		{"warm of another registry", []string{"warm", "quay.io/a/b:1", "redis:8", "--platform", "linux/amd64"}, 1, `quay.io/a/b:1: FAILED: HTTP 404: .*quay.io is not served here`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run(t.Context(), append([]string{"cache", "-c", s.config}, tt.args...)).want(t, tt.name, tt.code, tt.want)
		})
	}
}

// stopWarm stops a warm in the middle of the large layer, and returns that layer.
func (s *shelf) stopWarm(t *testing.T) simnet.Descriptor {
	t.Helper()
	layer, content := s.content.Layer(0)
	const most = 3 << 19 // of the layer's 2 MiB
	blob := simnet.Fault{On: simnet.Blobs, Method: "GET", Match: layer.Digest.Encoded()}
	half, rest := blob, blob
	half.Times, half.Cut, half.CutAt = 1, simnet.EndStall, most
	rest.Skip, rest.Drop = 1, simnet.EndStall
	for _, fault := range []simnet.Fault{half, rest} {
		defer s.hub.Inject(fault)()
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	done := make(chan result, 1)
	go func() {
		done <- run(ctx, []string{"cache", "warm", "-c", s.config, "redis:8", "--platform", "linux/amd64"})
	}()
	part := filepath.Join(s.dir, "partial", "sha256-"+layer.Digest.Encoded()+".part")
	for !begins(part, content[:most]) {
		select {
		case r := <-done:
			t.Fatalf("it ended before it could be stopped: %+v", r)
		case <-time.After(10 * time.Millisecond):
		}
	}
	interrupt()
	(<-done).want(t, "the one that is stopped", 130, `^Stopped with 0 of 1 image complete\. The same command goes on from here\.$`)
	return layer
}

// The same command goes on after an interrupt, from the byte where it was.
func TestWarmGoesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.stopWarm(t)
	s.cache(t, "warm", "redis:8", "--platform", "linux/amd64").want(t, "the next", 0, "redis:8: ok, ")
	want := int64(0)
	for _, d := range append(s.content.LayerList[0], s.content.Configs[0]) {
		want += d.Size
	}
	if n, bytes := s.blobs(t); bytes > want*105/100+(512<<10) { // the last of it may not have been noted
		t.Errorf("the hub sent %d bytes in %d answers for %d", bytes, n, want)
	}
}

// What is left of a blob is listed, and evicted by what the list calls it.
func TestCacheOfAnUnfinishedBlob(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	layer := s.stopWarm(t)
	short := layer.Digest.Encoded()[:12]
	s.cache(t, "ls").want(t, "ls", 0, "^"+short+`  unfinished +1\.\d MiB / 2\.0 MiB  20.*  - .*docker.io/library/redis:8`)
	s.cache(t, "pin", short).want(t, "pin", 1, layer.Digest.String()+" is not in the cache")
	s.cache(t, "gc").want(t, "gc of what may still go on", 0, "^0 B freed$")
	s.cache(t, "evict", short).want(t, "evict", 0, "^"+layer.Digest.String()+`: 1 object evicted, 1\.\d MiB$`)
	s.cache(t, "ls", short).want(t, "ls without it", 0, "^0 objects, 0 B$")
	s.cache(t, "evict", layer.Digest.String()).want(t, "evict again", 1, layer.Digest.String()+" is not in the cache")
	s.cache(t, "warm", "redis:8", "--platform", "linux/amd64").want(t, "warm", 0, "redis:8: ok, ")
}

// begins reports whether the file at path begins so.
func begins(path string, with []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	got := make([]byte, len(with))
	_, err = io.ReadFull(f, got)
	return err == nil && bytes.Equal(got, with)
}
