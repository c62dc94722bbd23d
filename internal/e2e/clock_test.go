//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// The clock of a machine cannot be set for one process alone: a time namespace has the other
// clocks, and libfaketime stands before libc, which a Go program does not ask. So the program
// is built with a time.Now whose wall, and nothing else, is off by what a file says; all the
// rest of it is what people run.
const (
	nowOfGo  = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	nowThatJ = nowOfGo + "\tsec += wallOff.Load()\n"

	wallOff = `package time

import "sync/atomic"

var wallOff atomic.Int64

// SetWall has the clock on the wall be off by so many seconds.
func SetWall(seconds int64) { wallOff.Store(seconds) }
`

	// The file lies beside the configuration, which is the last argument.
	followFile = `package main

import (
	"os"
	"strconv"
	"time"
)

func init() {
	file := os.Args[len(os.Args)-1] + ".clock"
	go func() {
		for ; ; time.Sleep(10 * time.Millisecond) {
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			seconds, err := strconv.ParseInt(string(text), 10, 64)
			if err != nil {
				panic(err)
			}
			time.SetWall(seconds)
			if err := os.Rename(file, file+".set"); err != nil {
				panic(err)
			}
		}
	}()
}
`
)

// buildClockDaemon builds a pullchain whose clock can be set.
func buildClockDaemon(t *testing.T) string {
	t.Helper()
	dir := tempDir(t)
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	std := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	text, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), nowOfGo) != 1 {
		t.Fatalf("this Go has another time.Now: see %s", std)
	}
	program, err := filepath.Abs("../../cmd/pullchain")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for path, content := range map[string]string{
		filepath.Join(std, "time.go"):         strings.Replace(string(text), nowOfGo, nowThatJ, 1),
		filepath.Join(std, "walloff.go"):      wallOff,
		filepath.Join(program, "setclock.go"): followFile,
	} {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		writeFile(t, replace[path], content)
	}
	overlay := filepath.Join(dir, "overlay.json")
	writeFile(t, overlay, string(marshal(t, map[string]any{"Replace": replace})))
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", dir, "github.com/pullchain/pullchain/cmd/pullchain")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "pullchain")
}

// setClock sets the clock of a daemon that buildClockDaemon has built, and waits until it is.
func (d *daemon) setClock(t *testing.T, off time.Duration) {
	t.Helper()
	file := d.config + ".clock"
	_ = os.Remove(file + ".set")
	writeFile(t, file+".new", strconv.FormatInt(int64(off/time.Second), 10))
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	d.process.waitFor(t, func(context.Context) error {
		_, err := os.Stat(file + ".set")
		return err
	})
}

// A clockWorld is a daemon whose clock can be set before a registry with tokens and a mirror.
type clockWorld struct {
	t      *testing.T
	net    *simnet.Net
	hub    *simnet.Hub
	images map[string]*simnet.Content
	daemon *daemon
	mirror string
	told   int // transitions of the hub's lane when its pause began
}

func newClockWorld(t *testing.T, program string) *clockWorld {
	t.Helper()
	n := simnet.New(simnet.Config{Plain: true}) // a certificate ends by the clock that is set
	t.Cleanup(n.Close)
	w := &clockWorld{t: t, net: n, images: map[string]*simnet.Content{}}
	var images []simnet.Image
	for i, name := range []string{"one", "two", "three", "four"} {
		img := simnet.Image{Repo: "library/" + name, Tags: []string{"1"}, Layers: []simnet.Layer{simnet.BigLayer(8<<20, uint64(i+1))}}
		images = append(images, img)
		w.images[name] = n.Build(img)
	}
	w.hub = n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: images, Direct: true, Auth: simnet.AuthConfig{TTL: time.Hour}})
	other := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "other"}, Images: images})
	ns := newNamespace(t)
	w.daemon = startDaemon(t, program, ns, daemonSetup{debug: true, chain: []upstream{
		{name: "hub", url: w.hub.URL(), origin: true, metered: true}, {name: "other", url: other.URL(), metered: true}, // nothing is asked for twice
	}})
	w.daemon.ready(t)
	w.mirror = "http://" + ns.mirror() + "/v2/library/"
	return w
}

// get begins a request, which must succeed.
func (w *clockWorld) get(path string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.mirror+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("%s: %s %s", path, resp.Status, body)
	}
	return resp
}

// manifest pulls an image's tag.
func (w *clockWorld) manifest(name string) {
	w.t.Helper()
	body, err := io.ReadAll(w.get(name + "/manifests/1").Body)
	if want := w.images[name].Root.Digest; err != nil || digest.FromBytes(body) != want {
		w.t.Errorf("%s: %d bytes that are not %s, %v", name, len(body), want, err)
	}
}

// asked counts what a server was asked for since the ledger was reset.
func (w *clockWorld) asked(server string, class simnet.Class) int {
	return w.net.Ledger().Count(simnet.Filter{Server: server, Class: class})
}

// lane is the hub's lane as the operator's plane has it, and its clock.
func (w *clockWorld) lane() (balancer.LaneSnapshot, time.Time) {
	w.t.Helper()
	var s admin.Snapshot
	page := w.daemon.get(w.t.Context(), "/api/v1/snapshot")
	if err := json.Unmarshal([]byte(page), &s); err != nil || len(s.Registries) == 0 {
		w.t.Fatalf("%v: %s", err, page)
	}
	return s.Registries[0].Lanes[0], s.Now
}

// TestF60_ClockOfARealDaemon sets the clock of a running pullchain by a day, and back again,
// in the middle of a blob, with a token in hand and the first upstream in a pause of six
// hours: no pull fails, and nothing is shut for longer than it was.
func TestF60_ClockOfARealDaemon(t *testing.T) {
	t.Parallel()
	program := buildClockDaemon(t)
	for name, off := range map[string]time.Duration{"a day forward": 24 * time.Hour, "a day back": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newClockWorld(t, program)
			defer w.daemon.end(t)
			w.manifest("four")
			w.limit("one", "two", "three")

			layer, _ := w.images["four"].Layer(0)
			lift := w.hub.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 2 << 20})
			body := w.get("four/blobs/" + layer.Digest.String()).Body
			var got bytes.Buffer
			if _, err := io.CopyN(&got, body, 1<<20); err != nil {
				t.Fatal(err)
			}
			w.daemon.setClock(t, off)
			_, now := w.lane()
			if wrong := time.Until(now) - off; wrong.Abs() > time.Hour {
				t.Fatalf("the daemon's clock says %v", now)
			}
			w.pulls("with its clock set", off > 0)
			if _, err := io.Copy(&got, body); err != nil || digest.FromBytes(got.Bytes()) != layer.Digest {
				t.Errorf("%d of %d bytes of the blob, %v", got.Len(), layer.Size, err)
			}
			lift()
			if n := w.net.Ledger().Count(simnet.Filter{Class: simnet.Blobs}); n != 1 {
				t.Errorf("the blob took %d requests, want 1", n)
			}

			w.daemon.setClock(t, 0)
			w.pulls("with its clock put right", off > 0)
		})
	}
}

// limit has the hub ask for a pause of six hours, for several images.
func (w *clockWorld) limit(names ...string) {
	w.t.Helper()
	lift := w.hub.Inject(simnet.Fault{On: simnet.Manifests, Status: http.StatusTooManyRequests, Body: `{"errors":[{"code":"TOOMANYREQUESTS"}]}`,
		Header: map[string]string{"Retry-After": "21600", "Content-Type": "application/json"}})
	for _, name := range names {
		w.manifest(name)
	}
	lift()
	l, _ := w.lane()
	if l.State != balancer.StateCooling {
		w.t.Fatalf("the hub is %q", l.State)
	}
	w.told = len(l.Transitions)
	w.net.Ledger().Reset()
}

// pulls pulls an image of which the tag is known, and a token is there, and wants the hub to
// be asked if its pause is over, and to be told when it ends otherwise.
func (w *clockWorld) pulls(when string, over bool) {
	w.t.Helper()
	before := w.asked("hub", simnet.Manifests)
	w.manifest("four")
	l, now := w.lane()
	if asked := w.asked("hub", simnet.Manifests) > before; asked != over {
		w.t.Errorf("%s: the hub was asked: %v; it is %q until %v", when, asked, l.State, l.Until)
	}
	switch {
	case over && l.State != balancer.StateServing:
		w.t.Errorf("%s: the hub is %q until %v", when, l.State, l.Until)
	case !over && (l.State != balancer.StateCooling || l.Until == nil || l.Until.Sub(now) > 6*time.Hour):
		w.t.Errorf("%s: the hub is %q until %v, by a clock that says %v", when, l.State, l.Until, now)
	case !over && len(l.Transitions) != w.told:
		w.t.Errorf("%s: the hub's pause was told to be over: %+v", when, l.Transitions)
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		if n := w.net.Ledger().Count(simnet.Filter{Server: "hub", Class: simnet.Manifests, Status: status}); n != 0 {
			w.t.Errorf("%s: the hub answered %d requests %d", when, n, status)
		}
	}
}
