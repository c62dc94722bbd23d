package daemon_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// fewEnv is how many descriptors the daemon of runKilled may have.
const fewEnv = "PULLCHAIN_TEST_DESCRIPTORS"

// fewDescriptors lowers the limit of this process to what the environment says.
func fewDescriptors() error {
	n, err := strconv.ParseUint(os.Getenv(fewEnv), 10, 64)
	if err != nil {
		return nil
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n})
}

// An apart is a daemon in a process of its own.
type apart struct {
	*rig
	pid            int
	data, operator string
}

// newPoor starts one that may have few descriptors.
func newPoor(t *testing.T, cfg rigConfig, descriptors int) *apart {
	t.Helper()
	return newApart(t, cfg, fmt.Sprint(fewEnv, "=", descriptors))
}

// newApart starts one with what the environment is to say besides.
func newApart(t *testing.T, cfg rigConfig, env ...string) *apart {
	t.Helper()
	p := &apart{rig: &rig{t: t, net: cfg.Net, log: &safeBuffer{}}}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), killedEnv+"="+writeConfig(t, cfg)), env...)
	cmd.Stderr = p.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // it ends when its parent seems gone
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log.String())
	}
	p.data, p.operator, _ = strings.Cut(strings.TrimSpace(line), " ")
	p.pid = cmd.Process.Pid
	return p
}

// snapshot asks the operator's plane, by a new connection.
func (p *apart) snapshot() (s admin.Snapshot) {
	p.t.Helper()
	// Within the time that the data plane gives an idle connection, after which there are
	// descriptors again.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Get("http://" + p.operator + "/api/v1/snapshot")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || resp.StatusCode != 200 {
		p.t.Fatalf("HTTP %d, %v", resp.StatusCode, err)
	}
	return s
}

// hoard opens connections to the data plane, asks for little on each, and keeps them.
func (p *apart) hoard(n int) (let func()) {
	var all []net.Conn
	for range n {
		c, err := net.Dial("tcp", p.data)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, c)
		if _, err := fmt.Fprintf(c, "GET /v2/ HTTP/1.1\r\nHost: %s\r\n\r\n", p.data); err != nil {
			p.t.Fatal(err)
		}
	}
	return func() {
		for _, c := range all {
			c.Close()
		}
	}
}

// Clients take all descriptors of a daemon: its operator's plane answers and says so, with
// the number, a pull under way goes on, what has waited is served once there are some
// again, and no upstream is blamed.
func TestF57_NoDescriptors(t *testing.T) {
	t.Parallel()
	const descriptors = 120
	n := newNet(t)
	img := simnet.Image{Repo: "library/large", Tags: []string{"1"}, Layers: []simnet.Layer{simnet.BigLayer(24<<20, 20)}}
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "a"}, Images: []simnet.Image{img, alpine}})
	image, small := n.Build(img), n.Build(alpine)
	p := newPoor(t, rigConfig{Net: n, Chain: []lane{{Name: "a", URL: m.URL(), Keys: unaided}}, Cache: cacheIn(filepath.Join(t.TempDir(), "cache"))}, descriptors)
	d, content := image.Layer(0)
	get := func(path string) (*http.Response, error) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		return client.Get("http://" + p.data + path)
	}
	resp, err := get(image.BlobPath(d.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	head := make([]byte, 100<<10)
	if _, err := io.ReadFull(resp.Body, head); err != nil {
		t.Fatal(err)
	}

	let := p.hoard(descriptors)
	var s admin.Snapshot
	p.eventually("all descriptors are taken", func() bool { s = p.snapshot(); return s.OpenFiles.Short })
	if o := s.OpenFiles; o.Limit != descriptors || o.Reserved != descriptors/8 || o.Since == nil || o.Machine {
		t.Errorf("%+v", o)
	}
	if len(s.Warnings) == 0 || s.Warnings[0].Code != "no_descriptors" || s.Warnings[0].Values["limit"] != "105" {
		t.Errorf("warnings %+v", s.Warnings)
	}
	for range 50 { // again and again, by a new connection each time
		if !p.snapshot().OpenFiles.Short {
			t.Error("it is over")
		}
	}
	rest, err := io.ReadAll(resp.Body)
	if err != nil || len(head)+len(rest) != len(content) || string(rest) != string(content[len(head):]) {
		t.Errorf("the pull under way ended after %d bytes: %v", len(rest), err)
	}

	waited := make(chan error, 1)
	go func() { // it is accepted once there is a descriptor
		resp, err := get(small.Path())
		if err == nil {
			var body []byte
			if body, err = io.ReadAll(resp.Body); err == nil && string(body) != string(small.Manifest()) {
				err = fmt.Errorf("HTTP %d with %q", resp.StatusCode, body)
			}
			resp.Body.Close()
		}
		waited <- err
	}()
	let()
	if err := <-waited; err != nil {
		t.Error(err)
	}
	s = p.snapshot()
	if l := s.Registries[0].Lanes[0]; l.State != "serving" {
		t.Errorf("the upstream is %s: %+v", l.State, l)
	}
	p.eventually("it is over", func() bool { return !p.snapshot().OpenFiles.Short })
	if n := strings.Count(p.log.String(), "no file descriptors are left"); n != 1 || !strings.Contains(p.log.String(), "limit=105") {
		t.Errorf("the log has it %d times:\n%s", n, p.log.String())
	}
}
