package daemon_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
	"github.com/pullchain/pullchain/internal/simnet"
)

// rigConfig is a simulated internet and the chain of docker.io through it.
type rigConfig struct {
	Net      *simnet.Net
	Chain    []lane
	Strategy string // ordered if unset
	Top      string // TOML tables that stand before the registry, as [egress.x]
	More     string // TOML keys of [server]
	Registry string // TOML keys of the registry
	Drain    string // drain_timeout; unset: 1s
	Listen   string // address; unset: any port of loopback
	Serving  bool   // drain = "serve"; else every test would end with its quiet moment
	Cache    string // TOML keys of [cache]; unset: there is none, so that the ledger holds every request
}

// lane is one upstream of the chain. Unless More says otherwise it may say what
// a tag names, and is probed once, at the start, so that the ledger holds what
// the test itself has caused.
type lane struct {
	Name   string
	URL    string
	Origin bool   // authoritative: its 404 is final
	Pull   bool   // trust = "pull": may not say what a tag names
	Guard  bool   // allow_private = false: the guard is what is tested
	NoCA   bool   // does not trust the simulated internet's CA
	Keys   string // further TOML keys of the upstream, one a line
	Tables string // TOML sub-tables: "[registry.upstream.timeouts]\nheader = \"1s\""
	Probe  string // keys of its probe table; unset: one probe at the start
	After  string // what follows its tables in the file
	// Keys of its patience table; unset: no other is asked beside it, so that no
	// machine is too slow for the test.
	Patience string
}

// rig is a daemon on loopback, between the test and a simulated internet.
type rig struct {
	t      testing.TB
	net    *simnet.Net
	Daemon *daemon.Daemon
	client *http.Client
	log    *safeBuffer
	path   string             // of the configuration
	stop   context.CancelFunc // as SIGTERM does
	ended  chan struct{}      // closed when Run has returned
	err    error              // of Run
	born   time.Time
}

// newRig starts the daemon. It ends with the test.
func newRig(t testing.TB, cfg rigConfig) *rig {
	t.Helper()
	r := &rig{t: t, born: time.Now(), net: cfg.Net, log: &safeBuffer{}, path: writeConfig(t, cfg)}
	transport := &http.Transport{DisableCompression: true}
	r.client = &http.Client{Transport: transport, Timeout: 2 * time.Minute, CheckRedirect: noRedirect}
	r.start()
	t.Cleanup(func() {
		r.end()
		if t.Failed() {
			log := r.log.String()
			t.Logf("ledger:\n%s\nlog:\n%s", r.ledgerText(), log[max(0, len(log)-8<<10):])
		}
	})
	return r
}

// start starts a daemon on the rig's configuration.
func (r *rig) start() {
	r.t.Helper()
	parsed, err := config.Load(r.path)
	if err != nil {
		r.t.Fatalf("the rig's configuration: %v", err)
	}
	opts := daemon.Options{Version: "test", Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if r.Daemon, err = daemon.New(parsed, opts); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Daemon.Listen(); err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(r.t.Context()))
	d, ended := r.Daemon, make(chan struct{})
	r.stop, r.ended = stop, ended
	go func() {
		defer close(ended)
		r.err = d.Run(ctx)
	}()
}

// end ends the daemon as SIGTERM does, and waits until it is gone.
func (r *rig) end() {
	r.t.Helper()
	r.client.CloseIdleConnections()
	r.stop()
	<-r.ended
	if r.err != nil {
		r.t.Errorf("the daemon ended: %v", r.err)
	}
}

// restart ends the daemon and starts another one on the same configuration and
// the same cache.
func (r *rig) restart() {
	r.t.Helper()
	r.end()
	r.start()
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newNet is a simulated internet that ends with the test.
func newNet(t testing.TB) *simnet.Net {
	t.Helper()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	return n
}

// writeConfig writes the file that a person would write for cfg.
func writeConfig(t testing.TB, cfg rigConfig) string {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, cfg.Net.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg.Cache == "" {
		cfg.Cache = "enabled = false"
	}
	drain := "refuse"
	if cfg.Serving {
		drain = "serve"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[server]\nlisten = %q\ndrain = %q\ndrain_timeout = %q\n%s\n[admin]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"state\"\n[cache]\n%s\n%s\n", cmp.Or(cfg.Listen, "127.0.0.1:0"), drain, cmp.Or(cfg.Drain, "1s"), cfg.More, cfg.Cache, cfg.Top)
	fmt.Fprintf(&b, "[[registry]]\nname = \"docker.io\"\nstrategy = %q\n%s\n", cfg.Strategy, cfg.Registry)
	for _, l := range cfg.Chain {
		b.WriteString(l.toml(ca))
	}
	path := filepath.Join(dir, "pullchain.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// caFile is a file with the certificate that signs those of n.
func caFile(t testing.TB, n *simnet.Net) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, n.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (l lane) toml(ca string) string {
	trust, probe := "resolve", l.Probe
	if l.Pull {
		trust = "pull"
	}
	if probe == "" {
		probe = "interval = \"24h\"\nidle_interval = \"24h\"\nurgent_interval = \"24h\""
	}
	caFile := fmt.Sprintf("ca_file = %q\n", ca)
	if l.NoCA {
		caFile = ""
	}
	patience := cmp.Or(l.Patience, "connect = \"60s\"\nmanifest = \"60s\"")
	return fmt.Sprintf("\n[[registry.upstream]]\nname = %q\nurl = %q\nauthoritative = %t\ntrust = %q\nallow_private = %t\n%s%s\n%s\n[registry.upstream.probe]\n%s\n[registry.upstream.patience]\n%s\n%s\n",
		l.Name, l.URL, l.Origin, trust, !l.Guard, caFile, l.Keys, l.Tables, probe, patience, l.After)
}

// reply is what the client got.
type reply struct {
	Status  int
	Line    string // the status with its text
	Header  http.Header
	Body    []byte
	Err     error         // of reading the body
	TTFB    time.Duration // until the headers
	Took    time.Duration // until the last byte
	Request string        // for messages
}

// do asks the daemon. Headers are pairs of name and value.
func (r *rig) do(method, path string, headers ...string) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.Daemon.Addr()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	began := time.Now()
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	out := reply{Status: resp.StatusCode, Line: resp.Status, Header: resp.Header, TTFB: time.Since(began), Request: method + " " + path}
	out.Body, out.Err = io.ReadAll(resp.Body)
	out.Took = time.Since(began)
	return out
}

func (r *rig) get(path string, headers ...string) reply {
	r.t.Helper()
	return r.do(http.MethodGet, path, headers...)
}

// wantBytes asks for path and fails the test unless these bytes come, whole,
// with 200. The answer is the caller's to look at further.
func (r *rig) wantBytes(path string, want []byte) reply {
	r.t.Helper()
	got := r.get(path)
	if got.Status != http.StatusOK || got.Err != nil {
		r.t.Fatalf("GET %s: status %d, %v; body %.300q", path, got.Status, got.Err, got.Body)
	}
	if !bytes.Equal(got.Body, want) {
		r.t.Fatalf("GET %s: %d bytes that are not the %d asked for", path, len(got.Body), len(want))
	}
	return got
}

// wantStatus asks for path and fails the test unless the answer has status.
func (r *rig) wantStatus(path string, status int) reply {
	r.t.Helper()
	got := r.get(path)
	if got.Status != status {
		r.t.Fatalf("GET %s: status %d, want %d; body %.600q", path, got.Status, status, got.Body)
	}
	return got
}

// lane returns the state of one upstream of the chain.
func (r *rig) lane(name string) balancer.LaneSnapshot {
	r.t.Helper()
	s := r.Daemon.Snapshot()
	for _, l := range s.Find("docker.io").Lanes {
		if l.Upstream == name {
			return l
		}
	}
	r.t.Fatalf("no lane %q", name)
	return balancer.LaneSnapshot{}
}

// breaker returns one breaker of a lane: class is manifest, blob or token.
func (r *rig) breaker(name, class string) balancer.BreakerSnapshot {
	r.t.Helper()
	for _, b := range r.lane(name).Breakers {
		if b.Class == class {
			return b
		}
	}
	r.t.Fatalf("lane %q has no breaker %q", name, class)
	return balancer.BreakerSnapshot{}
}

// gate returns the gate that is closed for a class; its Gate is empty if none is.
func (r *rig) gate(name, class string) balancer.GateSnapshot {
	r.t.Helper()
	for _, g := range r.lane(name).Gates {
		if g.Class == class {
			return g
		}
	}
	return balancer.GateSnapshot{}
}

// asked counts the requests of a class that a server has seen, pings and
// tunnels apart from the rest. Method may be empty for all.
func (r *rig) asked(server, method string, class simnet.Class) int {
	return r.net.Ledger().Count(simnet.Filter{Server: server, Method: method, Class: class})
}

// wantAsked fails the test unless server saw that many requests of the class.
func (r *rig) wantAsked(server, method string, class simnet.Class, want int) {
	r.t.Helper()
	if got := r.asked(server, method, class); got != want {
		r.t.Errorf("%s saw %d requests %s of class %v, want %d", server, got, method, class, want)
	}
}

// tooLong is what takes far less on any machine, however busy, unless something
// is waited for that should not be.
const tooLong = 30 * time.Second

// eventually polls, for what happens beside the requests: probes, late counts.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(tooLong)
	for !ok() {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within %v: %s", tooLong, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// probed waits until the first probe of every named lane is over, so that it
// does not mix with what the test does.
func (r *rig) probed(names ...string) {
	r.t.Helper()
	r.eventually("first probes", func() bool {
		s := r.Daemon.Snapshot()
		for _, name := range names {
			if p, _ := s.Find("docker.io").Probe(name); len(p.History) == 0 {
				return false
			}
		}
		return true
	})
}

// ledgerText is the end of the ledger, for people.
func (r *rig) ledgerText() string {
	var b strings.Builder
	all := r.net.Ledger().All()
	for _, e := range all[max(0, len(all)-40):] {
		fmt.Fprintf(&b, "%s %s %s %s?%s -> %d, %d bytes\n", e.Time.Format("05.000"), e.Server, e.Method, e.Path, e.Query, e.Status, e.Bytes)
	}
	return b.String()
}
