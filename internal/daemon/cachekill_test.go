package daemon_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
	"github.com/pullchain/pullchain/internal/simnet"
)

// TestKill9 runs in every `go test` with a few kills. The full run is
//
//	go test -run '^TestKill9$' ./internal/daemon -kills 100
var (
	kills    = flag.Int("kills", 8, "how often TestKill9 kills the daemon")
	killSeed = flag.Uint64("killseed", 1, "of the moments at which TestKill9 does")
)

// killedEnv makes the test binary a daemon that is going to be killed; its value
// is the configuration file.
const killedEnv = "PULLCHAIN_TEST_KILLED"

// runKilled is the process that TestKill9 kills. It prints its addresses, and ends
// when its parent is gone.
func runKilled(path string) error {
	if err := fewDescriptors(); err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, err := daemon.New(cfg, daemon.Options{Version: "test", Log: log})
	if err != nil {
		return err
	}
	if err := d.Listen(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	fmt.Println(d.Addr(), d.AdminAddr())
	return d.Run(ctx)
}

// A slayer pulls through a daemon that it kills again and again, always on the
// same cache directory.
type slayer struct {
	t      *testing.T
	net    *simnet.Net
	image  *simnet.Content
	dir    string // of the cache
	config string
	stderr safeBuffer // of all daemons
	rng    *rand.Rand

	rounds     int // how often everything is pulled
	midway     int // kills that met blobs on their way
	unfinished int // connections for these: each may have cost something
	resumed    int // blobs that a daemon went on with where one was killed

	mu   sync.Mutex
	todo []int // layers that no client has got yet in this round; slayerLayers is the manifest
}

const (
	slayerLayers  = 24
	slayerClients = 4
	slayerRate    = 16 << 20 // bytes/s of each upstream connection
	slayerLife    = 16 << 20 // bytes of blobs that a daemon may be sent before it is killed, at most

	// What a kill may cost for each connection whose blob is not finished: what
	// has not been journaled, and what the upstream had sent and was not read yet.
	unjournaled = 1 << 20
	inFlight    = 2 << 20

	// What is asked for of a blob that is whole, and was not yet verified.
	unverifiedBytes = 64 << 10
)

// newSlayer returns one over two mirrors that have tables.
func newSlayer(t *testing.T, tables ...string) *slayer {
	n := newNet(t)
	s := &slayer{t: t, net: n, rng: rand.New(rand.NewPCG(*killSeed, 9)), dir: filepath.Join(t.TempDir(), "cache")}
	img := simnet.Image{Repo: "library/slain", Tags: []string{"1"}}
	for i := range slayerLayers {
		size := 64<<10 + s.rng.Int64N(1<<20)
		if i%3 == 0 { // takes longer than a daemon lives
			size = 2<<20 + s.rng.Int64N(6<<20)
		}
		img.Layers = append(img.Layers, simnet.BigLayer(size, uint64(i+1)))
	}
	s.all()
	cfg := rigConfig{Net: n, Cache: cacheIn(s.dir)}
	for _, name := range []string{"a", "b"} {
		m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{img}})
		cfg.Chain = append(cfg.Chain, lane{Name: name, URL: m.URL(), Tables: strings.Join(tables, "\n")})
	}
	s.image, s.config = n.Build(img), writeConfig(t, cfg)
	t.Cleanup(func() {
		if log := s.stderr.String(); t.Failed() {
			t.Logf("seed %d; the daemons' log ends with:\n%s", *killSeed, log[max(0, len(log)-8<<10):])
		}
	})
	return s
}

// all begins a round.
func (s *slayer) all() {
	s.rounds++
	s.todo = []int{slayerLayers}
	for i := range slayerLayers {
		s.todo = append(s.todo, i)
	}
}

// A victim is a running daemon.
type victim struct {
	cmd   *exec.Cmd
	addr  chan string // what it listens on; closed without one if it was killed before
	ended chan error
}

func (s *slayer) start() *victim {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	v := &victim{cmd: exec.Command(self), addr: make(chan string, 1), ended: make(chan error, 1)}
	v.cmd.Env = append(os.Environ(), killedEnv+"="+s.config)
	v.cmd.Stderr = &s.stderr
	_, err = v.cmd.StdinPipe() // it ends with us
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(v.addr)
		lines := bufio.NewScanner(out)
		if lines.Scan() {
			v.addr <- strings.Fields(lines.Text())[0]
		}
		v.ended <- v.cmd.Wait()
	}()
	return v
}

// kill ends the daemon as kill -9 does.
func (v *victim) kill() { _ = v.cmd.Process.Kill() }

// pull lets clients pull what has not come yet, until all is there or the
// daemon is dead. Whatever comes whole must be right.
func (s *slayer) pull(addr string) {
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for range slayerClients {
		wg.Go(func() {
			for {
				i, ok := s.next()
				if !ok {
					return
				}
				if !s.get(client, addr, i) {
					s.again(i)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (s *slayer) next() (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.todo) == 0 {
		return 0, false
	}
	i := s.todo[0]
	s.todo = s.todo[1:]
	return i, true
}

func (s *slayer) again(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.todo = append([]int{i}, s.todo...)
}

// get reports whether the layer, or the manifest, came whole.
func (s *slayer) get(client *http.Client, addr string, i int) bool {
	path, content := s.image.Path(), s.image.Manifest()
	if i < slayerLayers {
		d, layer := s.image.Layer(i)
		path, content = s.image.BlobPath(d.Digest), layer
	}
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return false
	}
	if string(got) != string(content) {
		s.t.Errorf("%s came whole, and is wrong", path)
	}
	return true
}

// slay starts a daemon, pulls, and kills it at a random moment: of its start, or
// of the pull.
func (s *slayer) slay() {
	before := len(s.net.Ledger().All())
	v := s.start()
	if s.rng.IntN(5) == 0 {
		time.Sleep(time.Duration(s.rng.IntN(100)) * time.Millisecond)
		v.kill()
	}
	if addr, ok := <-v.addr; ok {
		pulled := make(chan struct{})
		go s.killAt(s.blobBytes()+s.rng.Int64N(slayerLife), v, pulled)
		s.pull(addr)
		close(pulled)
		v.kill()
	}
	<-v.ended
	s.count(before)
	if len(s.todo) == 0 { // all of it, once more
		if err := os.RemoveAll(filepath.Join(s.dir, "blobs")); err != nil {
			s.t.Fatal(err)
		}
		s.all()
	}
}

// killAt kills the daemon once the upstreams have sent so many bytes, so that it
// is midway however fast the machine is, unless all is pulled before.
func (s *slayer) killAt(bytes int64, v *victim, pulled <-chan struct{}) {
	for s.blobBytes() < bytes {
		select {
		case <-pulled:
			return
		case <-time.After(time.Millisecond):
		}
	}
	v.kill()
}

// count looks at what the upstreams were asked for by the daemon that has ended:
// the ledger from before on.
func (s *slayer) count(before int) {
	s.t.Helper()
	if err := s.net.Ledger().WaitIdle(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	whole, seen, unfinished := s.whole(), map[string]bool{}, 0
	for _, e := range s.net.Ledger().All()[before:] {
		if e.Class != simnet.Blobs {
			continue
		}
		if !seen[e.Ref] && e.Range != "" { // the first word of this daemon about it
			s.resumed++
		}
		seen[e.Ref] = true
		if !whole[digest.Digest(e.Ref)] {
			unfinished++
		}
	}
	s.unfinished += unfinished
	if unfinished > 0 {
		s.midway++
	}
}

// whole returns what is in the store under its own name, none of which may be
// wrong.
func (s *slayer) whole() map[digest.Digest]bool {
	s.t.Helper()
	return hashStore(s.t, s.dir)
}

// hashStore hashes every blob in the cache directory dir, fails the test for each
// that is not what its name says, and returns them all.
func hashStore(t testing.TB, dir string) map[digest.Digest]bool {
	t.Helper()
	found := map[digest.Digest]bool{}
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(path string, entry fs.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil || entry.IsDir() || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".json") {
			return err
		}
		b, err := os.ReadFile(path)
		if d := digest.FromBytes(b); err == nil && d.Encoded() != name {
			t.Errorf("%d bytes are stored as %s, and are %s", len(b), name, d)
		}
		found[digest.NewDigestFromEncoded(digest.SHA256, name)] = true
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}

// blobBytes is what the upstreams have sent of blobs.
func (s *slayer) blobBytes() int64 { return s.net.Ledger().Bytes(simnet.Filter{Class: simnet.Blobs}) }

// F35 A daemon that is killed at any moment leaves nothing wrong behind, and the
// next one goes on from what there is.
func TestKill9(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	s := newSlayer(t)
	var undo []func()
	for _, name := range []string{"a", "b"} {
		undo = append(undo, s.net.Server(name).Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: slayerRate}))
	}
	began := time.Now()
	for range *kills {
		s.slay()
	}
	killed, missing, rounds := s.blobBytes(), s.missing(), s.rounds
	for _, f := range undo {
		f()
	}
	before := len(s.net.Ledger().All())
	s.finish()
	s.count(before)

	var sizes int64
	for _, l := range s.image.LayerList[0] {
		sizes += int64(rounds) * l.Size
	}
	most := sizes + int64(s.unfinished)*(unjournaled+inFlight)
	all := s.blobBytes()
	t.Logf("%d kills in %v, %d of them midway, with %d connections for blobs that were not finished, %d blobs resumed",
		*kills, time.Since(began).Round(time.Millisecond), s.midway, s.unfinished, s.resumed)
	t.Logf("%d bytes fetched in %d rounds of %d, %.3fx, at most %d; of the %d missing at the last start %d",
		all, rounds, sizes/int64(rounds), float64(all)/float64(sizes), most, missing, all-killed)
	if all > most {
		t.Errorf("%d bytes were fetched of %d, want %d at most", all, sizes, most)
	}
	if last := all - killed; last < missing || last > missing+missing/10+slayerLayers*unverifiedBytes {
		t.Errorf("the last pull fetched %d bytes, of which %d were missing", last, missing)
	}
	if s.midway < *kills/4 || s.resumed == 0 {
		t.Errorf("of %d kills %d met a blob on its way, and %d blobs were resumed: that is no test", *kills, s.midway, s.resumed)
	}
	s.verify()
}

// missing counts the bytes that the store has not, neither whole nor in part.
func (s *slayer) missing() (n int64) {
	store, err := blobstore.Open(blobstore.Config{Dir: s.dir})
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	for _, l := range s.image.LayerList[0] {
		if _, ok := store.Stat(l.Digest); ok {
			continue
		}
		spool, err := store.Spool(s.t.Context(), l.Digest)
		if err != nil {
			s.t.Fatal(err)
		}
		n += l.Size
		for _, e := range spool.Extents() {
			n -= e.To - e.From
		}
		if err := spool.Suspend(); err != nil {
			s.t.Fatal(err)
		}
	}
	return n
}

// finish starts the daemon once more, pulls everything, twice, and ends it in
// order.
func (s *slayer) finish() {
	v := s.start()
	defer v.kill()
	addr, ok := <-v.addr
	if !ok {
		s.t.Fatal("the daemon does not start any more")
	}
	before := 0
	for range 2 {
		s.all()
		before = s.net.Ledger().Count(simnet.Filter{Class: simnet.Blobs})
		s.pull(addr)
		if len(s.todo) > 0 {
			s.t.Fatalf("%d layers cannot be had any more", len(s.todo))
		}
	}
	if n := s.net.Ledger().Count(simnet.Filter{Class: simnet.Blobs}) - before; n != 0 {
		s.t.Errorf("%d requests for layers that had just been pulled", n)
	}
	if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := <-v.ended; err != nil {
		s.t.Errorf("the last daemon ended with %v", err)
	}
}

// verify reads all that was stored, as `cache verify` does.
func (s *slayer) verify() {
	store, err := blobstore.Open(blobstore.Config{Dir: s.dir})
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	sound := 0
	err = store.Verify(s.t.Context(), func(f blobstore.Finding) {
		if sound++; f.Err != nil {
			s.t.Errorf("%s: %v", f.Digest, f.Err)
		}
	})
	if err != nil || sound != slayerLayers+1 {
		s.t.Errorf("%d blobs are stored, want %d; %v", sound, slayerLayers+1, err)
	}
	if left := len(s.whole()); left != sound {
		s.t.Errorf("%d files for %d blobs", left, sound)
	}
	if stats := store.Stats(); stats.Partial != 0 || stats.Corrupt != 0 {
		s.t.Errorf("left behind: %+v", stats)
	}
}
