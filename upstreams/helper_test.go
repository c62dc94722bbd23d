package upstreams

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// TestF68_TwelveHourTokens: thirteen hours of pulls from a registry whose logins live for
// twelve, by a helper that gives a new one with each call, one that keeps each until its
// end, and one that keeps it until half of its life is over. No pull fails, and the helper
// is run no oftener than twice an hour.
func TestF68_TwelveHourTokens(t *testing.T) {
	const life = 12 * time.Hour
	for name, keeps := range map[string]time.Duration{"new with each call": 0, "kept to the end": life, "kept for half": life / 2} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			secret, runs := filepath.Join(dir, "secret"), filepath.Join(dir, "runs")
			script := fmt.Sprintf("#!/bin/sh\necho run >> %s\ncat %s\n", runs, secret)
			if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			synctest.Test(t, func(t *testing.T) {
				refused := 0
				p := newPipes(t, map[string]http.HandlerFunc{"hub.example": func(w http.ResponseWriter, r *http.Request) {
					user, password, _ := r.BasicAuth()
					issued, err := time.Parse(time.RFC3339, strings.TrimPrefix(password, "issued "))
					if user != "AWS" || err != nil || time.Since(issued) >= life {
						refused++
						w.Header().Set("WWW-Authenticate", `Basic realm="https://hub.example/",service="ecr.amazonaws.com"`)
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					_, _ = w.Write([]byte("layer"))
				}})
				u := p.upstream(t, func(c *Config) { c.CredentialHelper = "test" })
				var issued time.Time
				begin := time.Now()
				for time.Since(begin) < 13*time.Hour {
					if time.Since(issued) >= keeps {
						issued = time.Now()
						text := fmt.Sprintf(`{"ServerURL":"hub.example","Username":"AWS","Secret":"issued %s"}`, issued.Format(time.RFC3339))
						if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
							t.Fatal(err)
						}
					}
					resp, err := u.Fetch(t.Context(), pullchain.Request{Op: pullchain.Blob, Repo: "team/app", Digest: digest.FromString("layer")})
					if err != nil {
						t.Fatalf("after %v: %v", time.Since(begin), err)
					}
					resp.Body.Close()
					if !resp.Private || resp.Login == "" {
						t.Fatal("what a helper's login got is public")
					}
					time.Sleep(5 * time.Minute)
				}
				log, _ := os.ReadFile(runs)
				if n := strings.Count(string(log), "run"); n < 2 || n > 28 {
					t.Errorf("the helper ran %d times in 13 hours", n)
				}
				if refused > 2 { // the first request, that knows of no challenge, and the end of a token that was kept to its end
					t.Errorf("%d requests were refused", refused)
				}
			})
		})
	}
}

// TestHelperIsToldTheServer: by the name that helpers know it by.
func TestHelperIsToldTheServer(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"https://registry-1.docker.io":                         "https://index.docker.io/v1/",
		"https://1234.dkr.ecr.eu-west-1.amazonaws.com/project": "1234.dkr.ecr.eu-west-1.amazonaws.com",
		"https://registry.example:5000":                        "registry.example:5000",
	} {
		u := testUpstream(t, Config{Name: "x", URL: at, CredentialHelper: "test"})
		if got := u.cfg.helper(u.origin).Server; got != want {
			t.Errorf("%s: %q; want %q", at, got, want)
		}
	}
}
