package front

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

// What clients got is counted by registry, class and upstream, for ten minutes;
// failures, pings and refusals are no service.
func TestServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		by, failed, result := "hub", false, pullchain.CacheBypass
		h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if failed {
				return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Unavailable, Err: errors.New("down")}
			}
			resp, err := healthy(ctx, req)
			resp.Attempts, resp.Cache = nil, result
			if by != "" {
				resp.Attempts = served(by)
			}
			return resp, err
		}})
		ask := func(n int, method, path string) {
			for range n {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "http://localhost"+path, nil))
			}
		}
		want := func(registry string, want ...traffic.Served) {
			t.Helper()
			if d := cmp.Diff(want, h.Traffic().Served(registry)); d != "" {
				t.Errorf("%s (-want +got):\n%s", registry, d)
			}
		}
		want("docker.io")
		ask(3, "GET", manifestPath)
		ask(1, "HEAD", manifestPath)
		ask(2, "GET", blobPath)
		by = "worker"
		ask(5, "GET", manifestPath)
		ask(1, "GET", tagsPath)
		by, result = "", pullchain.CacheHit
		ask(1, "GET", blobPath)
		ask(1, "GET", "/v2/ghcr.io/a/b/manifests/1")
		by, result = "hub", pullchain.CacheStale // which could not say
		ask(1, "GET", "/v2/ghcr.io/a/b/manifests/1")
		failed = true
		ask(4, "GET", manifestPath)
		failed = false
		ask(1, "GET", "/v2/")
		ask(1, "PUT", manifestPath)
		want("docker.io",
			lately(pullchain.ClassManifest, "worker", 6), lately(pullchain.ClassManifest, "hub", 4),
			lately(pullchain.ClassBlob, "hub", 2), lately(pullchain.ClassBlob, "", 1))
		want("ghcr.io", lately(pullchain.ClassManifest, "", 2))
		want("quay.io")

		time.Sleep(8 * time.Minute)
		by, result = "hub", pullchain.CacheBypass
		ask(1, "GET", manifestPath)
		want("docker.io",
			lately(pullchain.ClassManifest, "worker", 6), lately(pullchain.ClassManifest, "hub", 5),
			lately(pullchain.ClassBlob, "hub", 2), lately(pullchain.ClassBlob, "", 1))
		time.Sleep(3 * time.Minute)
		want("docker.io", lately(pullchain.ClassManifest, "hub", 1))
		time.Sleep(10 * time.Minute)
		want("docker.io")
	})
}

func lately(class pullchain.Class, upstream string, requests uint64) traffic.Served {
	return traffic.Served{Class: class, Upstream: upstream, Requests: requests}
}
