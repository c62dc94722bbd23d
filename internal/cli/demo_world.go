package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
	"github.com/pullchain/pullchain/internal/simnet"
)

// A world is everything that a round of the demo needs: a small internet on
// loopback, a daemon in front of it, and a client.
type world struct {
	net     *simnet.Net
	hub     *simnet.Hub // with a small quota
	relay   *simnet.Relay
	mirrors [2]*simnet.Mirror
	images  []*simnet.Content

	switches *switches // of the dashboard
	daemon   *daemon.Daemon
	ended    chan error
	stop     context.CancelFunc
	dir      string // of the configuration
	speed    float64
	puller   *puller
}

// demoRegistry is the registry whose chain is shown.
const demoRegistry = "docker.io"

// demoQuota is how many pulls the demo's registry allows. At a tenth of it a
// chain begins to spare the registry by itself; the story wants to see a 429.
const demoQuota = 20

// minRetryAfter is how long the registry refuses at least. It is to outlast
// the acts in between: a daemon that finds the quota still spent when the time
// is up stays away for longer.
const minRetryAfter = 5 * time.Second

// newWorld starts a world. The caller closes it.
func newWorld(speed float64) (*world, error) {
	w := &world{net: simnet.New(simnet.Config{}), speed: speed, ended: make(chan error, 1), stop: func() {}}
	w.servers()
	w.switches = newSwitches(w)
	if err := w.start(); err != nil {
		_ = w.close()
		return nil, err
	}
	w.puller = newPuller("http://"+w.daemon.Addr(), w.scaled(500*time.Millisecond))
	return w, nil
}

// servers starts the registry, the relay and the mirrors. The relay asks another
// registry with the same images and a quota of its own, as a real one asks from
// other addresses than ours.
func (w *world) servers() {
	images := []simnet.Image{
		{Repo: "library/alpine", Tags: []string{"3.20"}, Layers: []simnet.Layer{{Size: 300 << 10, Seed: 1}}},
		{Repo: "library/nginx", Tags: []string{"1.27"}, Layers: []simnet.Layer{{Size: 300 << 10, Seed: 1}, {Size: 900 << 10, Seed: 2}, {Size: 20 << 10, Seed: 3}}},
		{Repo: "library/postgres", Tags: []string{"17"}, Layers: []simnet.Layer{{Size: 4 << 20, Seed: 4}, {Size: 40 << 10, Seed: 5}}},
	}
	for _, img := range images {
		w.images = append(w.images, w.net.Build(img))
	}
	w.hub = w.net.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "docker-hub"}, Images: images,
		Quota: simnet.Quota{Limit: demoQuota, RetryAfter: max(minRetryAfter, w.scaled(15*time.Second))},
	})
	elsewhere := w.net.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub-elsewhere"}, Images: images, Quota: simnet.Quota{Limit: 200}})
	w.relay = w.net.AddRelay(simnet.RelayConfig{Origin: simnet.Origin{Name: "cf-worker"}, Hub: elsewhere})
	for i, name := range []string{"mirror", "second-mirror"} {
		w.mirrors[i] = w.net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: images})
	}
}

// A demoUpstream is one path of the demo's chain.
type demoUpstream struct{ name, url string }

// chain lists the upstreams in the order in which the daemon asks them.
func (w *world) chain() []demoUpstream {
	return []demoUpstream{
		{"docker-hub", w.hub.URL()}, {"cf-worker", w.relay.URL()},
		{"mirror", w.mirrors[0].URL()}, {"second-mirror", w.mirrors[1].URL()},
	}
}

// start starts the daemon, by a configuration file as a user would write it.
func (w *world) start() error {
	dir, err := os.MkdirTemp("", "pullchain-demo-")
	if err != nil {
		return err
	}
	w.dir = dir
	path := filepath.Join(dir, "pullchain.toml")
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), w.net.CAPEM(), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(w.toml()), 0o600); err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	if w.daemon, err = daemon.New(cfg, daemon.Options{Version: thisBuild().Version, Log: slog.New(slog.DiscardHandler), Source: path, Demo: w.switches}); err != nil {
		return err
	}
	if err := w.daemon.Listen(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background()) // it outlives the story, which tells how it ends
	w.stop = stop
	go func() { w.ended <- w.daemon.Run(ctx) }()
	return nil
}

// toml is the configuration. Its waits are short because the story is, and
// there is no cache, because that would answer where the story is about which upstream does.
func (w *world) toml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[server]\nlisten = \"127.0.0.1:0\"\ndrain = \"refuse\"\ndrain_timeout = \"2s\"\n\n[admin]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"off\"\n\n[cache]\nenabled = false # or it would answer what the upstreams are to be asked\n\n[[registry]]\nname = %q\n", demoRegistry)
	for i, u := range w.chain() {
		fmt.Fprintf(&b, "\n[[registry.upstream]]\nname = %q\nurl = %q\nauthoritative = %t\ntrust = \"resolve\"\nca_file = \"ca.pem\"\nallow_private = true\n", u.name, u.url, i == 0)
		b.WriteString("[registry.upstream.probe]\ninterval = \"1s\"\nidle_interval = \"1s\"\n")
		b.WriteString("[registry.upstream.timeouts]\nstall = \"5s\"\n") // a stall is thrown to be seen
		b.WriteString("[registry.upstream.breaker]\nopen = \"2s\"\nopen_max = \"2s\"\n")
		b.WriteString("[registry.upstream.patience]\nconnect = \"1m\"\nmanifest = \"1m\"\n") // which upstream serves is for the story to decide, and not for how busy the machine is
	}
	return b.String()
}

// dashboard is where a browser finds the operator's plane.
func (w *world) dashboard() string { return "http://" + w.daemon.AdminAddr() + "/" }

// scaled is how long d of the story takes at the speed that was asked for.
func (w *world) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / w.speed)
}

// close ends the world: the daemon drains, then the servers go.
func (w *world) close() error {
	if w.puller != nil {
		w.puller.close()
	}
	var err error
	// A daemon that was never run has no end to wait for.
	if w.stop(); w.daemon != nil && w.puller != nil {
		err = <-w.ended
	}
	w.net.Close()
	if w.dir != "" {
		_ = os.RemoveAll(w.dir) // the system clears its folder for such files
	}
	return err
}
