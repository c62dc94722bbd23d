package daemon_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A passing is a daemon that passes clients' own logins on to a hub, with a mirror before it
// that has what is public, and another registry that is open.
type passing struct {
	*rig
	hub, other    *simnet.Hub
	mirror        *simnet.Mirror
	vault, public *simnet.Content
}

const annsPassword = "correct-horse-battery"

func newPassing(t *testing.T, cache string) *passing {
	t.Helper()
	n := newNet(t)
	p := &passing{vault: n.Build(vault), public: n.Build(alpine)}
	p.hub = n.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{vault, alpine},
		Auth: simnet.AuthConfig{Service: "hub", Users: map[string]string{"ann": annsPassword}, Private: []string{vault.Repo}},
	})
	p.mirror = n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}, Images: []simnet.Image{alpine}})
	p.other = n.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "other"}, Images: []simnet.Image{alpine},
		Auth: simnet.AuthConfig{Users: map[string]string{"ann": annsPassword}},
	})
	other := lane{Name: "other", URL: p.other.URL(), Origin: true}
	second := "\n[[registry]]\nname = \"other.example\"\n" + other.toml(caFile(t, n))
	p.rig = newRig(t, rigConfig{
		Net: n, Registry: `client_auth = "passthrough"`, Cache: cache,
		Chain: []lane{{Name: "mirror", URL: p.mirror.URL()}, {Name: "hub", URL: p.hub.URL(), Origin: true, After: second}},
	})
	p.probed("mirror", "hub")
	return p
}

// inStore keeps what is fetched, and believes nothing for a while.
func inStore(t *testing.T) string { return fmt.Sprintf("dir = %q\ntag_ttl = \"0s\"", t.TempDir()) }

func basicOf(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

// login asks our token server, and returns what to show with requests. Without a user it
// is anonymous.
func (p *passing) login(user, scope string) string {
	p.t.Helper()
	var headers []string
	if user != "" {
		headers = []string{"Authorization", basicOf(user, annsPassword)}
	}
	return p.ticketIn(p.get("/token?service=pullchain&scope="+url.QueryEscape(scope), headers...))
}

func (p *passing) ticketIn(got reply) string {
	p.t.Helper()
	var answer struct {
		Token     string `json:"token"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.Unmarshal(got.Body, &answer); err != nil || got.Status != http.StatusOK || answer.Token == "" || answer.ExpiresIn < 60 {
		p.t.Fatalf("%s: %d, %s", got.Request, got.Status, got.Body)
	}
	return "Bearer " + answer.Token
}

const vaultScope = "repository:team/vault:pull"

// parts are the private image's manifest, by tag and by digest, and its layer.
func (p *passing) parts() (paths []string) {
	layer, _ := p.vault.Layer(0)
	return []string{p.vault.Path(), p.vault.ManifestPath(p.vault.Root.Digest.String()), p.vault.BlobPath(layer.Digest)}
}

// wantRefused checks that a client that shows this gets a challenge, and nothing of the
// private image, in whichever way it asks.
func (p *passing) wantRefused(when string, headers ...string) {
	p.t.Helper()
	for _, path := range p.parts() {
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			got := p.do(method, path, headers...)
			want := fmt.Sprintf(`Bearer realm="http://%s/token",service="pullchain",scope="repository:team/vault:pull"`, p.Daemon.Addr())
			if challenge := got.Header.Get("WWW-Authenticate"); got.Status != http.StatusUnauthorized || !strings.HasPrefix(challenge, want) {
				p.t.Errorf("%s: %s: %d, challenge %s, %.200q", when, got.Request, got.Status, challenge, got.Body)
			}
		}
		if got := p.get(path, append([]string{"Range", "bytes=0-3"}, headers...)...); got.Status != http.StatusUnauthorized {
			p.t.Errorf("%s: part of %s: %d", when, path, got.Status)
		}
	}
}

// pull pulls the private image, and fails the test unless all of it comes.
func (p *passing) pull(ticket string) {
	p.t.Helper()
	_, content := p.vault.Layer(0)
	for i, want := range [][]byte{p.vault.Manifest(), p.vault.Manifest(), content} {
		if got := p.get(p.parts()[i], "Authorization", ticket); got.Status != http.StatusOK || !bytes.Equal(got.Body, want) {
			p.t.Fatalf("%s: %d, %d bytes, %.200q", got.Request, got.Status, len(got.Body), got.Body)
		}
	}
}

// F69 A private image through a shared mirror: each client reads by its own login, and by
// nothing that another has fetched.
func TestF69_EachClientReadsByItsOwnLogin(t *testing.T) {
	t.Parallel()
	p := newPassing(t, inStore(t))
	ping := p.get("/v2/")
	if want := fmt.Sprintf(`Bearer realm="http://%s/token",service="pullchain"`, p.Daemon.Addr()); ping.Status != http.StatusUnauthorized || ping.Header.Get("WWW-Authenticate") != want {
		t.Errorf("version check: %d, %q; want a challenge %s", ping.Status, ping.Header.Get("WWW-Authenticate"), want)
	}
	if got := p.get("/v2/?ns=other.example"); got.Status != http.StatusOK {
		t.Errorf("version check of a registry without passthrough: %d", got.Status)
	}
	anonymous := p.login("", vaultScope)
	p.wantRefused("cold, without a login")
	p.wantRefused("cold, anonymous", "Authorization", anonymous)

	ann := p.login("ann", vaultScope)
	if got := p.get("/v2/", "Authorization", ann); got.Status != http.StatusOK {
		t.Errorf("version check with a token: %d", got.Status)
	}
	p.pull(ann)
	p.eventually("the layer is stored", func() bool { return p.Daemon.Snapshot().Cache.Objects >= 2 })
	p.wantRefused("stored, without a login")
	p.wantRefused("stored, anonymous", "Authorization", anonymous)
	p.wantRefused("stored, token for another image", "Authorization", p.login("ann", "repository:library/alpine:pull"))
	p.wantRefused("stored, made up", "Authorization", ann+"x")
	p.wantRefused("stored, the registry's token itself", "Authorization", "Bearer "+ann[strings.LastIndex(ann, "/")+1:])
	p.wantRefused("stored, Basic", "Authorization", basicOf("ann", annsPassword))

	layer, _ := p.vault.Layer(0)
	blobs := simnet.Filter{Server: "hub", Method: http.MethodGet, Ref: layer.Digest.String(), Status: http.StatusTemporaryRedirect}
	before := p.net.Ledger().Count(blobs)
	p.pull(p.login("ann", vaultScope)) // by another token: the registry is asked, and no layer fetched
	if got := p.net.Ledger().Count(blobs); got != before {
		t.Errorf("the layer was fetched %d times more", got-before)
	}
	if n := p.net.Ledger().Count(simnet.Filter{Server: "hub", Method: http.MethodHead, Ref: layer.Digest.String()}); n == 0 {
		t.Error("the registry was not asked whether the second token may read the layer")
	}

	// A list that a login was told is told to no other client.
	list := "/v2/" + vault.Repo + "/tags/list"
	if got := p.get(list, "Authorization", ann); got.Status != http.StatusOK {
		t.Errorf("%s: %d", list, got.Status)
	}
	if got := p.get(list, "Authorization", anonymous); got.Status != http.StatusUnauthorized {
		t.Errorf("%s without a login: %d", list, got.Status)
	}

	// No other place has seen the login or a token of it, and no line of the log.
	for _, secret := range []string{annsPassword, basicOf("ann", annsPassword)[6:]} {
		if leaks := p.net.Ledger().Leaks(secret, "hub-auth"); len(leaks) > 0 {
			t.Errorf("the login was shown to %v", leaks)
		}
	}
	if leaks := p.net.Ledger().Leaks(ann[strings.LastIndex(ann, "/")+1:], "hub"); len(leaks) > 0 {
		t.Errorf("the token was shown to %v", leaks)
	}
	for _, secret := range []string{annsPassword, basicOf("ann", annsPassword)[6:], ann[strings.LastIndex(ann, "/")+1:]} {
		if strings.Contains(p.log.String(), secret) {
			t.Error("the log has a secret")
		}
	}
}

// TestPassthroughPastTheCache: the same without a cache.
func TestPassthroughPastTheCache(t *testing.T) {
	t.Parallel()
	p := newPassing(t, "")
	p.pull(p.login("ann", vaultScope))
	p.wantRefused("without a login")
	p.pull(p.login("ann", vaultScope))
}

// TestPassthroughIsForPrivateImagesOnly: what can be read without a login is served as
// ever, whatever a client shows, and what one has fetched so is everybody's.
func TestPassthroughIsForPrivateImagesOnly(t *testing.T) {
	t.Parallel()
	p := newPassing(t, fmt.Sprintf("dir = %q", t.TempDir()))
	layer, content := p.public.Layer(1)
	p.wantBytes(p.public.BlobPath(layer.Digest), content)
	if got := p.get(p.public.BlobPath(layer.Digest), "Authorization", p.login("", "repository:library/alpine:pull")); !bytes.Equal(got.Body, content) {
		t.Errorf("with an anonymous token: %d", got.Status)
	}
	p.eventually("the layer is stored", func() bool { return p.Daemon.Snapshot().Cache.Objects >= 1 })
	p.net.Ledger().Reset()
	if got := p.get(p.public.BlobPath(layer.Digest), "Authorization", p.login("ann", "repository:library/alpine:pull")); !bytes.Equal(got.Body, content) {
		t.Errorf("with a login: %d", got.Status)
	}
	p.wantAsked("hub", "", simnet.Blobs, 0)
	p.wantAsked("mirror", "", simnet.Blobs, 0)
	// Of what is not there a client without any token is told after it has shown one: it might
	// be there for a login.
	missing := "/v2/library/alpine/manifests/none"
	p.wantStatus(missing, http.StatusUnauthorized)
	if got := p.get(missing, "Authorization", p.login("", "repository:library/alpine:pull")); got.Status != http.StatusNotFound {
		t.Errorf("missing: %d", got.Status)
	}
	// Another registry neither asks for a login nor looks at one.
	if got := p.get("/v2/other.example/library/alpine/manifests/3", "Authorization", basicOf("ann", annsPassword)); got.Status != http.StatusOK {
		t.Errorf("a registry without passthrough: %d", got.Status)
	}
	p.login("ann", "repository:other.example/library/alpine:pull")
	if leaks := p.net.Ledger().Leaks(basicOf("ann", annsPassword)[6:], "hub-auth"); len(leaks) > 0 {
		t.Errorf("a login went to %v", leaks)
	}
}

// TestPassthroughSharesNoDownload: two clients that ask for one cold layer by their own
// logins fetch it each by its own, and each has all of it.
func TestPassthroughSharesNoDownload(t *testing.T) {
	t.Parallel()
	p := newPassing(t, inStore(t))
	layer, content := p.vault.Layer(0)
	one, two := p.login("ann", vaultScope), p.login("ann", vaultScope)
	var came sync.WaitGroup
	came.Add(2)
	undo := p.hub.Inject(simnet.Fault{On: simnet.Blobs, Method: http.MethodGet, Times: 2, Respond: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came.Done()
		came.Wait() // the one is not answered before the other has asked
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})})
	defer undo()
	var all sync.WaitGroup
	for _, ticket := range []string{one, two} {
		all.Go(func() {
			if got := p.get(p.vault.BlobPath(layer.Digest), "Authorization", ticket); !bytes.Equal(got.Body, content) {
				t.Errorf("%d, %d bytes", got.Status, len(got.Body))
			}
		})
	}
	all.Wait()
}

// TestPassthroughTokenCalls: the forms in which clients ask, and what goes to the registry.
func TestPassthroughTokenCalls(t *testing.T) {
	t.Parallel()
	p := newPassing(t, "")
	post := func(form string) (reply, error) {
		resp, err := p.client.Post("http://"+p.Daemon.Addr()+"/token", "application/x-www-form-urlencoded", strings.NewReader(form))
		if err != nil {
			return reply{}, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return reply{Status: resp.StatusCode, Header: resp.Header, Body: body, Request: "POST /token"}, err
	}
	got, err := post("grant_type=password&service=pullchain&client_id=containerd-client&scope=" + vaultScope + "&username=ann&password=" + annsPassword)
	if err != nil {
		t.Fatal(err)
	}
	p.pull(p.ticketIn(got))
	if got, err = post("grant_type=password&username=ann&password=" + strings.Repeat("x", 100<<10)); err != nil || got.Status != http.StatusBadRequest {
		t.Errorf("a form without an end: %d, %v", got.Status, err)
	}
	// docker login shows a login without a scope.
	p.ticketIn(p.get("/token?service=pullchain&account=ann&client_id=docker&offline_token=true", "Authorization", basicOf("ann", annsPassword)))
	// A wrong one is told so, and not shown to the registry again and again.
	p.net.Ledger().Reset()
	for range 3 {
		got := p.get("/token?service=pullchain&scope="+vaultScope, "Authorization", basicOf("ann", "wrong"))
		if got.Status != http.StatusUnauthorized || !strings.Contains(string(got.Body), "UNAUTHORIZED") {
			t.Errorf("wrong password: %d, %s", got.Status, got.Body)
		}
	}
	p.wantAsked("hub-auth", "", simnet.Token, 1)
	p.login("ann", vaultScope) // of another login nothing is said
	if got := p.get("/v2/token"); got.Status == http.StatusOK {
		t.Error("there is a page at /v2/token")
	}
}

// TestPassthroughLimitIsTheClients: a client whose account has spent its quota closes the
// registry to no other.
func TestPassthroughLimitIsTheClients(t *testing.T) {
	t.Parallel()
	p := newPassing(t, "")
	one, two := p.login("ann", vaultScope), p.login("ann", vaultScope)
	tooMany := simnet.TooManyAfter(time.Hour, false)
	tooMany.On = simnet.Manifests
	undo := p.hub.Inject(tooMany)
	for range 3 {
		if got := p.get(p.vault.Path(), "Authorization", one); got.Status == http.StatusOK {
			t.Fatal("there was no limit")
		}
	}
	undo()
	p.pull(two)
	p.pull(one)
}
