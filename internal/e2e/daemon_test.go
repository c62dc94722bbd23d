//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// upstream is one path of docker.io's chain, as it stands in the config file.
type upstream struct {
	name    string
	url     string
	caFile  string
	egress  string // the egress's URL; "" is direct
	origin  bool   // the registry itself, whose 404 is final
	away    bool   // may be a black hole, which only a short time for connecting ends
	metered bool   // is asked for nothing twice, however slow it may be
}

// built is where the first test that needs it has put the pullchain binary.
var built struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	reapLeftovers()
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// buildDaemon builds the pullchain binary that all tests run, once.
func buildDaemon(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", ownPrefix()); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", built.dir, "github.com/pullchain/pullchain/cmd/pullchain")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "pullchain")
}

// daemon is a running pullchain.
type daemon struct {
	program string
	config  string // its file
	process *process
	admin   string // URL of the operator's plane
}

// daemonSetup is what a pullchain is started with.
type daemonSetup struct {
	chain  []upstream
	cache  string // the cache's directory; "" is a new one
	tagTTL string // how long a tag is believed; "" is the default
	debug  bool   // whether the log tells of clients that left, too
	drain  string // drain_timeout; "" is the default
	warm   string // an image that is fetched ahead of need; "" is none
}

// startDaemon starts pullchain on the mirror address of the namespace with
// docker.io's chain. It ends with the test.
func startDaemon(t *testing.T, program string, ns *namespace, setup daemonSetup) *daemon {
	t.Helper()
	dir := tempDir(t)
	if setup.cache == "" {
		setup.cache = filepath.Join(dir, "cache")
	}
	d := &daemon{program: program, config: filepath.Join(dir, "pullchain.toml"), admin: "http://" + ns.admin()}
	writeFile(t, d.config, daemonConfig(ns, setup))
	cmd := exec.Command(program, "run", "--config", d.config)
	cmd.Env = clientEnv(dir)
	d.process = startProcess(t, "pullchain", dir, cmd)
	// Not readyz: it rightly says 503 while no registry can be pulled from.
	d.process.waitFor(t, answers(http.DefaultClient, d.admin+"/-/healthz"))
	return d
}

// daemonConfig is the file that a person would write, as docs/architecture.md, "Names
// that people type", has it.
func daemonConfig(ns *namespace, setup daemonSetup) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[server]\nlisten = %q\n", ns.mirror())
	if setup.drain != "" {
		fmt.Fprintf(&b, "drain_timeout = %q\n", setup.drain)
	}
	fmt.Fprintf(&b, "\n[admin]\nlisten = %q\nstate_dir = \"off\"\n\n[log]\nformat = \"json\"\n", ns.admin())
	if setup.debug {
		b.WriteString("level = \"debug\"\n")
	}
	// The rule for max_size when nothing is said, a part of the disk, would make
	// the tests depend on the machine's.
	fmt.Fprintf(&b, "\n[cache]\ndir = %q\nmax_size = \"1GiB\"\n", setup.cache)
	if setup.tagTTL != "" {
		fmt.Fprintf(&b, "tag_ttl = %q\n", setup.tagTTL)
	}
	for _, u := range setup.chain {
		if u.egress != "" {
			fmt.Fprintf(&b, "\n[egress.%s]\nurl = %q\n", u.name, u.egress)
		}
	}
	if setup.warm != "" {
		fmt.Fprintf(&b, "\n[[warm]]\nimages = [%q, \"docker.io/library/nosuch:1\"]\nevery = \"6h\"\n", setup.warm)
	}
	b.WriteString("\n[[registry]]\nname = \"docker.io\"\n")
	for _, u := range setup.chain {
		fmt.Fprintf(&b, "\n[[registry.upstream]]\nname = %q\nurl = %q\n", u.name, u.url)
		// The real names would imply the origin's rights, and public addresses.
		fmt.Fprintf(&b, "authoritative = %t\ntrust = \"resolve\"\nallow_private = true\n", u.origin)
		if u.metered {
			b.WriteString("metered = true\n")
		}
		if u.caFile != "" {
			fmt.Fprintf(&b, "ca_file = %q\n", u.caFile)
		}
		if u.egress != "" {
			fmt.Fprintf(&b, "egress = %q\n", u.name)
		}
		b.WriteString(u.times())
	}
	return b.String()
}

// times are such that no upstream is given up, or another asked beside it,
// because the machine is slow.
func (u upstream) times() string {
	connect := patience
	if u.away {
		connect = 5 * time.Second
	}
	return fmt.Sprintf(`timeouts = { connect = "%[1]s", header = "%[2]s", stall = "%[2]s" }
patience = { connect = "%[1]s", manifest = "%[2]s" }
probe = { timeout = "%[1]s" }
`, connect, patience)
}

// ready waits until the daemon says that docker.io can be pulled from.
func (d *daemon) ready(t *testing.T) {
	t.Helper()
	d.process.waitFor(t, answers(http.DefaultClient, d.admin+"/-/readyz?registry=docker.io"))
}

// end ends the daemon as a service manager would and wants that to be in
// order. When the test has failed, it first prints what the lanes look like.
func (d *daemon) end(t *testing.T) {
	t.Helper()
	if t.Failed() {
		t.Logf("pullchain's lanes at the end:\n%s", d.get(t.Context(), "/api/v1/snapshot"))
	}
	d.process.stop(t)
	if state := d.process.cmd.ProcessState; !state.Success() {
		t.Errorf("pullchain ended with %v", state)
	}
}

// access is a line of the access log.
type access struct {
	Message  string    `json:"msg"`
	Time     time.Time `json:"time"` // of the answer's end
	Took     int64     `json:"ms"`
	Registry string    `json:"registry"`
	Repo     string    `json:"repo"`
	Method   string    `json:"method"`
	Status   int       `json:"status"`
	Op       string    `json:"op"`
	Ref      string    `json:"ref"`
	Range    string    `json:"range"`
	Bytes    int64     `json:"bytes"`
	Cache    string    `json:"cache"`
	Trace    string    `json:"trace"`
}

// begun is when the request came.
func (a access) begun() time.Time { return a.Time.Add(-time.Duration(a.Took) * time.Millisecond) }

// statusClientGone is the status in the log of an answer that the client did not
// wait for.
const statusClientGone = 499

// accessLog is what the clients asked, in the order of the answers' ends.
func (d *daemon) accessLog(t *testing.T) []access {
	t.Helper()
	var all []access
	for line := range strings.Lines(d.process.output()) {
		var a access
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Errorf("pullchain logs a line that is no JSON: %v\n%s", err, line)
			continue
		}
		if a.Message == "request" {
			all = append(all, a)
		}
	}
	return all
}

// cli runs a command of pullchain as the operator of this daemon would.
func (d *daemon) cli(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.program, append(args, "--config", d.config)...)
	cmd.Env = clientEnv(filepath.Dir(d.config))
	return run(cmd)
}

// cacheState is a part of what the operator's plane says of the cache.
type cacheState struct {
	Fills struct {
		Active int
	}
	Requests map[string]map[string]int // by kind and by what the cache had to do
}

// awaitCache waits until the cache is as wanted, or the test has ended.
func (d *daemon) awaitCache(t *testing.T, what string, wanted func(cacheState) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		var c cacheState
		page := d.get(ctx, "/api/v1/cache")
		if json.Unmarshal([]byte(page), &c) == nil && wanted(c) {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			if t.Context().Err() == nil {
				t.Errorf("waited in vain for %s; the cache is\n%s", what, page)
			}
			return
		}
	}
}

// stored waits until what has been pulled is in the cache: a client does not wait
// for the disk.
func (d *daemon) stored(t *testing.T) {
	t.Helper()
	d.awaitCache(t, "all blobs to be stored", func(c cacheState) bool { return c.Requests != nil && c.Fills.Active == 0 })
}

// get is the body of a page of the operator's plane, or why there is none.
func (d *daemon) get(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.admin+path, nil)
	if err != nil {
		return err.Error()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// startWorker runs the Worker of examples/worker in workerd and returns its
// URL. The Worker's docker.io is the hub at origin, whose token server and CDN
// are the hosts auth and cdn; caFile signs all three.
func startWorker(t *testing.T, caFile, origin, auth, cdn string) string {
	t.Helper()
	script, err := filepath.Abs("../../examples/worker/test/run.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(script), "node_modules", "workerd")); errors.Is(err, os.ErrNotExist) {
		t.Fatal("workerd is not installed: run `bash .ci/install`")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed: run `bash .ci/install`")
	}
	registries := marshal(t, map[string]any{"docker.io": map[string]any{
		"origin": origin, "auth": []string{auth}, "blobs": []string{cdn},
	}})
	dir := tempDir(t)
	cmd := exec.Command(node, script, "--ca", caFile, "--registries", string(registries))
	cmd.Env = []string{"PATH=" + systemPath, "HOME=" + dir, "TMPDIR=" + dir}
	p := startProcess(t, "workerd", dir, cmd)
	var address string
	p.waitFor(t, func(context.Context) error {
		for line := range strings.Lines(p.output()) {
			if rest, ok := strings.CutPrefix(line, "ready "); ok && strings.HasSuffix(rest, "\n") {
				address = strings.TrimSpace(rest)
				return nil
			}
		}
		return errors.New("it has not said ready")
	})
	return address
}
