package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// The joints of the chain: where one link hands a body to the next.
const (
	afterUpstream = "upstream to balancer"
	afterBalancer = "balancer to the next" // the cache, or front if there is none
	afterCache    = "cache to front"
)

// A wrapper stands at a joint and puts a body around each that passes.
type wrapper func(joint string, body pullchain.Body) pullchain.Body

// at wraps at one joint alone.
func at(joint string, wrap func(pullchain.Body) pullchain.Body) wrapper {
	return func(here string, body pullchain.Body) pullchain.Body {
		if here != joint {
			return body
		}
		return wrap(body)
	}
}

// embedding is what the contract asks of a wrapper that changes nothing.
type embedding struct{ pullchain.Body }

func embed(body pullchain.Body) pullchain.Body { return embedding{body} }

// deaf passes the bytes on, and nothing else: what every wrapper did when the rest
// climbed through type assertions that it did not know of.
func deaf(body pullchain.Body) pullchain.Body { return pullchain.PlainBody(body) }

// fileless is a body from somewhere that is no file, such as another store.
type fileless struct{ pullchain.Body }

func withoutFile(body pullchain.Body) pullchain.Body { return fileless{body} }

func (b fileless) Sections() pullchain.Sections {
	if s := b.Body.Sections(); s != nil {
		return filelessSections{s}
	}
	return nil
}

type filelessSections struct{ pullchain.Sections }

func (s filelessSections) Next() (pullchain.Section, error) {
	section, err := s.Sections.Next()
	section.Content = struct{ io.ReaderAt }{section.Content} // hides that it is a file
	return section, err
}

// A joint is a link of the chain with a wrapper behind it.
type joint struct {
	pullchain.Fetcher
	name string
	wrap wrapper
}

func (j joint) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	resp, err := j.Fetcher.Fetch(ctx, req)
	if err == nil {
		resp.Body = j.wrap(j.name, resp.Body)
	}
	return resp, err
}

// A jointedUpstream is an upstream with a wrapper behind it.
type jointedUpstream struct {
	*upstreams.Upstream
	joint
}

func (u jointedUpstream) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	return u.joint.Fetch(ctx, req)
}

// A contractRig is the chain of docker.io as chain.go builds it, with a wrapper at
// every joint: upstream a, which cuts its blobs in the middle, before upstream b.
type contractRig struct {
	t      *testing.T
	client *http.Client
	url    string
	log    *safeBuffer
	files  int           // handed to the kernel by the answer under way
	done   chan struct{} // after each answer: its log line is written
}

// newContractRig builds the chain over net. login has b take one; cached puts a
// cache before the balancer.
func newContractRig(t *testing.T, servers [2]*simnet.Mirror, net *simnet.Net, login, cached bool, wrap wrapper) *contractRig {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, net.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	var lanes []*balancer.Lane
	for i, name := range []string{"a", "b"} {
		cfg := upstreams.Config{Name: name, URL: servers[i].URL(), CAFile: ca, AllowPrivate: true}
		if login && name == "b" {
			cfg.Token = "secret"
		}
		up, err := upstreams.New(cfg, egress.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(up.Close)
		// Metered: or a busy machine would have both asked at once, for speed.
		lanes = append(lanes, balancer.NewLane(jointedUpstream{up, joint{up, afterUpstream, wrap}}, balancer.LaneConfig{Resolve: true, Metered: true}))
	}
	b := balancer.New(balancer.Config{Registry: "docker.io", Lanes: lanes})
	var chain pullchain.Fetcher = joint{b, afterBalancer, wrap}
	if cached {
		store, err := blobstore.Open(blobstore.Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		c := cache.New(cache.Options{Store: store})
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		next := cache.Registry{Name: "docker.io", Next: chain, Blame: b.Blame, Holds: b.Holds, Knows: b.Knows}
		chain = joint{c.Chain(next), afterCache, wrap}
	}
	routes, err := front.NewRoutes([]front.Registry{{Name: "docker.io", Fetcher: chain}})
	if err != nil {
		t.Fatal(err)
	}
	r := &contractRig{t: t, log: &safeBuffer{}, done: make(chan struct{}, 1)}
	handler := front.New(front.Config{}, slog.New(slog.NewJSONHandler(r.log, nil)))
	handler.SetRoutes(routes)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		handler.ServeHTTP(&fileCounter{ResponseWriter: w, files: &r.files}, req)
		r.done <- struct{}{}
	}))
	t.Cleanup(server.Close)
	r.client, r.url = server.Client(), server.URL
	return r
}

// A fileCounter is net/http's ResponseWriter, and counts what it makes a sendfile
// of: a limited *os.File with nothing around it (net/sendfile.go).
type fileCounter struct {
	http.ResponseWriter
	files *int
}

func (w *fileCounter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *fileCounter) ReadFrom(src io.Reader) (int64, error) {
	if limited, ok := src.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			*w.files++
		}
	}
	return w.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
}

// attemptTime matches how long an attempt took, which is all that may differ.
var attemptTime = regexp.MustCompile(`\(\d+ms\)`)

// ask asks once, and returns what the client and the operator learn of it.
func (r *contractRig) ask(what, method, path string, want []byte) string {
	r.t.Helper()
	r.files = 0
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	<-r.done
	lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
	var line struct{ Cache, Upstream, Trace string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		r.t.Fatal(err)
	}
	fact := fmt.Sprintf("%s: %d, whole %t, %v, cache %q, upstream %q, trace %q",
		what, resp.StatusCode, bytes.Equal(body, want), err, line.Cache, line.Upstream, attemptTime.ReplaceAllString(line.Trace, ""))
	if line.Cache == string(pullchain.CacheHit) { // a miss goes out in the pieces in which it comes
		fact += fmt.Sprintf(", by sendfile %t", r.files > 0)
	}
	return fact
}

// bodyFacts pulls a blob whose upstream cuts it in the middle, in all the ways
// that a body takes, and returns what was to be seen of each.
func bodyFacts(t *testing.T, login bool, wrap wrapper) []string {
	t.Helper()
	net := newNet(t)
	var servers [2]*simnet.Mirror
	for i, name := range []string{"a", "b"} {
		servers[i] = net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{big}})
	}
	servers[0].Inject(simnet.Fault{On: simnet.Blobs, Cut: simnet.EndFIN, CutAt: cutAt})
	image := net.Build(big)
	d, content := image.Layer(0)
	path := image.BlobPath(d.Digest)

	direct := newContractRig(t, servers, net, login, false, wrap)
	facts := []string{
		direct.ask("manifest, without a cache", "GET", image.Path(), image.Manifest()),
		direct.ask("blob, without a cache", "GET", path, content),
	}
	cached := newContractRig(t, servers, net, login, true, wrap)
	facts = append(facts, cached.ask("manifest", "GET", image.Path(), image.Manifest()), cached.ask("blob", "GET", path, content))
	// A reader has its last byte a moment before the blob is synced and a hit.
	const hit = `cache "hit"`
	for i := 0; !strings.Contains(cached.ask("is it kept?", "HEAD", path, nil), hit); i++ {
		if i == 1e5 {
			t.Fatal("the blob is not kept")
		}
	}
	other := strings.Replace(path, big.Repo, "library/other", 1)
	return append(facts,
		cached.ask("blob, once more", "GET", path, content),
		cached.ask("blob of another repository", "GET", other, content))
}

// What a body can tell climbs through every joint of the chain, with a wrapper
// there that embeds it: the attempts, in the log's trace; that an upstream which
// took over in the middle took a login, in that no other repository gets the blob;
// and where a hit lies, in that it goes out by sendfile. A wrapper that takes the
// file away loses the sendfile and nothing else.
func TestBodyContractAtEveryJoint(t *testing.T) {
	t.Parallel()
	for _, login := range []bool{true, false} {
		t.Run(fmt.Sprintf("login %t", login), func(t *testing.T) {
			t.Parallel()
			bare := bodyFacts(t, login, func(_ string, body pullchain.Body) pullchain.Body { return body })
			wantBodyFacts(t, login, bare)
			for name, wrap := range map[string]wrapper{
				afterUpstream: at(afterUpstream, embed),
				afterBalancer: at(afterBalancer, embed),
				afterCache:    at(afterCache, embed),
				"everywhere":  func(_ string, body pullchain.Body) pullchain.Body { return embed(body) },
			} {
				if diff := cmp.Diff(bare, bodyFacts(t, login, wrap)); diff != "" {
					t.Errorf("a wrapper %s: without it (-), with it (+):\n%s", name, diff)
				}
			}
			noFile := make([]string, len(bare))
			for i, fact := range bare {
				noFile[i] = strings.Replace(fact, "by sendfile true", "by sendfile false", 1)
			}
			if diff := cmp.Diff(noFile, bodyFacts(t, login, at(afterCache, withoutFile))); diff != "" {
				t.Errorf("without a file: want (-), got (+):\n%s", diff)
			}
			for _, joint := range []string{afterBalancer, afterCache} {
				if cmp.Equal(bare, bodyFacts(t, login, at(joint, deaf))) {
					t.Errorf("a deaf wrapper %s makes no difference: this test sees nothing there", joint)
				}
			}
		})
	}
}

// wantBodyFacts says what the chain without wrappers has to show, so that all the
// others are compared with something.
func wantBodyFacts(t *testing.T, login bool, facts []string) {
	t.Helper()
	other := `: 200, whole true, <nil>, cache "hit"`
	if login {
		other = `: 404, whole false, <nil>, cache ""`
	}
	resumed := fmt.Sprintf(`upstream "b", trace "a:ok a@%[1]d:truncated b@%[1]d:ok"`, cutAt)
	for i, want := range []string{
		`: 200, whole true`, resumed,
		`: 200, whole true`, resumed,
		`: 200, whole true, <nil>, cache "hit", upstream "", trace "", by sendfile true`, other,
	} {
		if !strings.Contains(facts[i], want) {
			t.Errorf("%s; want %s", facts[i], want)
		}
	}
}
