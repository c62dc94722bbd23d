package config_test

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// proofs has one function for each example: it pulls in each form that the example is
// about, and does what the example is there for.
var proofs = map[string]func(*testing.T, *world){
	"workstation.toml": func(t *testing.T, w *world) {
		e := start(t, w, "workstation.toml")
		e.pull("/v2/*", w.alpine)
		e.pull("/v2/ghcr.io/*", w.app)
		e.pull("/v2/*?ns=quay.io", w.tool)
		e.pull("/v2/registry.example.net/*", w.other)
		w.wantManifests(t, "hub", 1)
		if w.hub.Remaining("me") != 999 {
			t.Errorf("of the login's quota %d are left", w.hub.Remaining("me"))
		}
	},

	"team.toml": func(t *testing.T, w *world) {
		e := start(t, w, "team.toml")
		e.wantStatus(w.alpine, http.StatusUnauthorized)
		e.header.Set("Authorization", basic("alice", "a guess"))
		e.wantStatus(w.alpine, http.StatusUnauthorized)
		e.header.Set("Authorization", basic("alice", secret("team.password")))
		e.pull("/v2/*", w.alpine)
		e.pull("/v2/*?ns=ghcr.io", w.app)
		e.pull("/v2/quay.io/*", w.tool)
		e.host = "ghcr.mirror.example.com"
		e.pull("/v2/*", w.app)
		if w.hub.Remaining("team") != 999 {
			t.Errorf("of the account's quota %d are left", w.hub.Remaining("team"))
		}
		if leaks := w.Ledger().Leaks(secret("team.password")); len(leaks) != 0 {
			t.Errorf("a registry was shown the member's login: %+v", leaks)
		}
	},

	"cdn.toml": func(t *testing.T, w *world) {
		e := start(t, w, "cdn.toml")
		e.wantStatus(w.alpine, http.StatusForbidden)
		e.header.Set("X-Origin-Secret", "something else, as long")
		e.wantStatus(w.alpine, http.StatusForbidden)
		e.header.Set("X-Origin-Secret", secret("origin.secret"))
		e.pull("/v2/*", w.alpine)
		e.pull("/v2/ghcr.io/*", w.app)
	},

	"chain.toml": func(t *testing.T, w *world) {
		w.addWorker(t)
		w.AddMirror(simnet.MirrorConfig{Origin: name("public", "mirror.example.com"), Images: []simnet.Image{w.alpine.Image, w.redis.Image}})
		e := start(t, w, "chain.toml")
		e.pull("/v2/*", w.alpine)
		e.pull("/v2/ghcr.io/*", w.app)
		w.wantFrom(t, "home")
		w.wantUnasked(t, "behind-worker")
		w.Server("home").Break(simnet.ConnRefused)
		e.wantStatus(w.redis, http.StatusOK)
		w.wantFrom(t, "behind-worker")
		w.Server("worker").Break(simnet.ConnRefused)
		e.pull("/v2/*", w.redis) // what the tag means is known by now, and the mirror has the blobs
		w.wantFrom(t, "public")
	},

	"airgapped.toml": func(t *testing.T, w *world) {
		e := start(t, w, "airgapped.toml")
		e.pull("/v2/*", w.alpine)
		e.pull("/v2/quay.io/*", w.tool)
		w.harbor.Break(simnet.ConnRefused)
		e.pull("/v2/*", w.redis)
		w.wantFrom(t, "spare")
		w.Server("spare").Break(simnet.ConnRefused)
		e.pull("/v2/*", w.alpine)
		e.pull("/v2/*?ns=quay.io", w.tool)
	},

	"behind-team.toml": func(t *testing.T, w *world) {
		team := start(t, w, "team.toml")
		at := name("team", "mirror.example.com")
		at.Handler = passTo(t, team.base, certificate(t))
		server := w.AddOrigin(at)
		e := start(t, w, "behind-team.toml")
		e.pull("/v2/*", w.alpine)
		e.pull("/v2/ghcr.io/*", w.app)
		for _, entry := range w.Ledger().Find(simnet.Filter{Server: "team", Class: simnet.Manifests | simnet.Blobs}) {
			if entry.Query != "ns=docker.io" && entry.Query != "ns=ghcr.io" {
				t.Errorf("the team's mirror was asked for %s?%s", entry.Path, entry.Query)
			}
		}
		w.wantFrom(t, "team")
		w.wantManifests(t, "hub", 1) // to the team's mirror
		server.Break(simnet.ConnRefused)
		e.pull("/v2/*", w.redis) // of Docker Hub itself
	},

	"notify.toml": func(t *testing.T, w *world) {
		e := start(t, w, "notify.toml")
		e.pull("/v2/*", w.alpine)
		e.pull("/v2/registry.k8s.io/*", w.pause)
	},

	"from-nginx.toml": func(t *testing.T, w *world) {
		e := start(t, w, "from-nginx.toml")
		e.pull("/v2/*", w.alpine)
		e.pull("/hub/v2/*", w.alpine)
		e.pull("/ghcr/v2/*", w.app)
		e.pull("/quay/v2/*", w.tool)
		e.pull("/k8s/v2/*", w.pause)
		w.wantManifests(t, "hub", 1)
		w.hub.Break(simnet.ConnRefused)
		e.pull("/v2/*", w.alpine)
	},

	"from-nginx-worker.toml": func(t *testing.T, w *world) {
		w.addRelay()
		e := start(t, w, "from-nginx-worker.toml")
		e.pull("/v2/*", w.alpine)
		w.wantUnasked(t, "behind-worker")
		w.hub.SetRemaining("127.0.0.1", 0)
		e.pull("/v2/*", w.redis)
		w.wantFrom(t, "behind-worker")
	},

	"from-pull-through.toml": func(t *testing.T, w *world) {
		e := start(t, w, "from-pull-through.toml")
		e.wantStatus(w.alpine, http.StatusForbidden)
		e.header.Set("X-Origin-Secret", secret("origin.secret"))
		e.pull("/v2/*", w.alpine)
		w.wantFrom(t, "office")
		w.wantUnasked(t, "cable")
		if w.hub.Remaining("team") != 999 {
			t.Errorf("of the account's quota %d are left", w.hub.Remaining("team"))
		}
		w.Server("office").Break(simnet.ConnRefused)
		e.pull("/v2/*", w.alpine)
	},

	"from-worker.toml": func(t *testing.T, w *world) {
		w.addRelay()
		e := start(t, w, "from-worker.toml")
		e.pull("/v2/*", w.alpine)
		w.wantFrom(t, "home")
		w.Server("home").Break(simnet.ConnRefused)
		e.wantStatus(w.redis, http.StatusOK)
		w.wantFrom(t, "behind-worker")
		w.Server("worker").Break(simnet.ConnRefused)
		e.pull("/v2/*", w.redis)
		w.wantFrom(t, "mirror")
	},

	"from-compose.toml": func(t *testing.T, w *world) {
		e := start(t, w, "from-compose.toml")
		e.pull("/v2/*", w.alpine)
		at := e.Daemon.Listeners()
		e.pull("http://"+at[0]+"/v2/*", w.app)
		e.pull("http://"+at[1]+"/v2/*", w.tool)
		page := "http://" + e.Daemon.AdminAddr() + "/cache"
		if status, _ := e.get(page); status != http.StatusUnauthorized {
			t.Errorf("the page of the cache without the token: %d", status)
		}
		e.header.Set("Authorization", "Bearer "+secret("admin.token"))
		if status, body := e.get(page); status != http.StatusOK {
			t.Errorf("the page of the cache: %d, %.300q", status, body)
		}
	},
}

// Every example does what it says it does. They are those of the folder, all of them.
func TestExamples(t *testing.T) {
	t.Setenv("PULLCHAIN_WORKER_KEY", workerKey)
	files, err := filepath.Glob("*.toml")
	if err != nil || len(files) != len(proofs) {
		t.Fatalf("%d examples, and proofs of %d; %v", len(files), len(proofs), err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			proof := proofs[file]
			if proof == nil {
				t.Fatal("nothing is pulled through it")
			}
			proof(t, newWorld(t))
		})
	}
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}
