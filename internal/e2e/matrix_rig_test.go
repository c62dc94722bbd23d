//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pullchain/pullchain/internal/quirks"
)

// A matrixSite is a site with what the registry there has, and what it was asked.
type matrixSite struct {
	site
	content *quirks.Registry
	asked   *requestLog
}

// A matrixPlay is one quirk with the two registries of the pullchain's file that
// have it: with nothing else in the chain, and with a good upstream behind it.
type matrixPlay struct {
	quirk         quirks.Quirk
	alone, second matrixSite
}

// A matrixRig is one client's world: its namespace, a pullchain that knows a registry
// for each play, and the servers behind them.
type matrixRig struct {
	client string
	ns     *namespace
	plays  []matrixPlay
	daemon *daemon
}

func newMatrixRig(t *testing.T, program string, ns *namespace, client string, qs []quirks.Quirk) *matrixRig {
	t.Helper()
	m := &matrixRig{client: client, ns: ns}
	var registries strings.Builder
	for i, q := range qs {
		play := matrixPlay{
			quirk:  q,
			alone:  matrixSite{site{ns.mirror(), fmt.Sprintf("r%d.test", i)}, quirks.NewRegistry(), &requestLog{}},
			second: matrixSite{site{ns.mirror(), fmt.Sprintf("s%d.test", i)}, quirks.NewRegistry(), &requestLog{}},
		}
		m.plays = append(m.plays, play)
		writeRegistry(&registries, play.alone.registry, q, m.quirky(t, q, play.alone))
		// The good one is the registry, and the odd one a mirror of it: a mirror's 404
		// is not the last word.
		writeRegistry(&registries, play.second.registry, q, m.quirky(t, q, play.second), serveOn(t, ns, play.second.asked.logged(play.second.content)))
	}
	m.daemon = startConfigured(t, program, ns, registries.String())
	return m
}

// traces is what the pullchain's access log says of a registry.
func (m *matrixRig) traces(registry string) string {
	var b strings.Builder
	for line := range strings.Lines(m.daemon.process.output()) {
		var a access
		if json.Unmarshal([]byte(line), &a) == nil && a.Registry == registry {
			fmt.Fprintf(&b, "    %s %s %s %.40s %s-> %d %s\n", a.Method, a.Repo, a.Op, a.Ref, a.Range, a.Status, a.Trace)
		}
	}
	return b.String()
}

// direct is a registry with the quirk of which pullchain knows nothing.
func (m *matrixRig) direct(t *testing.T, q quirks.Quirk) matrixSite {
	t.Helper()
	at := matrixSite{content: quirks.NewRegistry(), asked: &requestLog{}}
	at.host = strings.TrimPrefix(m.quirky(t, q, at), "http://")
	return at
}

// quirky serves the site's registry with the quirk and returns its URL.
func (m *matrixRig) quirky(t *testing.T, q quirks.Quirk, at matrixSite) string {
	t.Helper()
	host := func(h http.Handler) string { return serveOn(t, m.ns, at.asked.logged(h)) }
	return host(q.Handler(at.content, host))
}

// writeRegistry writes a registry whose last upstream is the registry itself.
func writeRegistry(b *strings.Builder, name string, q quirks.Quirk, urls ...string) {
	fmt.Fprintf(b, "\n[[registry]]\nname = %q\n", name)
	for i, url := range urls {
		fmt.Fprintf(b, "\n[[registry.upstream]]\nname = \"u%d\"\nurl = %q\nauthoritative = %t\ntrust = \"resolve\"\nallow_private = true\n%s",
			i, url, i == len(urls)-1, upstream{}.times())
		if q.Wrong {
			b.WriteString("verify = \"whole\"\n") // as the README tells people who meet wrong bytes
		}
	}
}

// startConfigured is startDaemon with registries of one's own.
func startConfigured(t *testing.T, program string, ns *namespace, registries string) *daemon {
	t.Helper()
	dir := tempDir(t)
	d := &daemon{program: program, config: filepath.Join(dir, "pullchain.toml"), admin: "http://" + ns.admin()}
	writeFile(t, d.config, fmt.Sprintf("[server]\nlisten = %q\n\n[admin]\nlisten = %q\nstate_dir = \"off\"\n\n[log]\nformat = \"json\"\n\n[cache]\ndir = %q\nmax_size = \"1GiB\"\n%s",
		ns.mirror(), ns.admin(), filepath.Join(dir, "cache"), registries))
	cmd := exec.Command(program, "run", "--config", d.config)
	cmd.Env = clientEnv(dir)
	d.process = startProcess(t, "pullchain", dir, cmd)
	d.process.waitFor(t, answers(http.DefaultClient, d.admin+"/-/healthz"))
	return d
}

// serveOn serves a handler on a port of the address that both the client in the
// namespace and this side reach, until the test ends. It returns the URL.
func serveOn(t *testing.T, ns *namespace, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ns.host.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}

// pushTo puts all of an image into a registry.
func pushTo(g *quirks.Registry, img *image) {
	for _, b := range append(img.blobs, img.others...) {
		if b.mediaType == typeManifest {
			g.PutManifest(img.repository, "", b.mediaType, b.bytes)
			continue
		}
		g.PutBlob(img.repository, b.bytes)
	}
	g.PutManifest(img.repository, "", img.manifest.mediaType, img.manifest.bytes)
	g.PutManifest(img.repository, img.tag, img.index.mediaType, img.index.bytes)
}

// A requestLog is what the servers of one site were asked, a line a request.
type requestLog struct {
	mu    sync.Mutex
	lines []string
}

// logged notes each request to h with the status of its answer.
func (l *requestLog) logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &statusWriter{ResponseWriter: w}
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.lines = append(l.lines, fmt.Sprintf("    %s %s %.120s %s %s-> %d", r.Host, r.Method, r.URL.RequestURI(), r.Header.Get("Range"), r.Header.Get("Authorization"), s.status))
		}()
		h.ServeHTTP(s, r)
	})
}

func (l *requestLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n") + "\n"
}

// A statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
