package upstreams_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/upstreams"
)

// An upstream turns what a registry answers into a Response, or into an Error whose
// Reason says what to do next.
func Example() {
	const config = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/library/alpine/manifests/3" {
			w.Header().Set("Retry-After", "60")
			http.Error(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`, http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		io.WriteString(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"`+config+`","size":2},"layers":[]}`)
	}))
	defer registry.Close()

	u, err := upstreams.New(upstreams.Config{Name: "local", URL: registry.URL}, egress.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer u.Close()
	for _, tag := range []string{"3", "4"} {
		resp, err := u.Fetch(context.Background(), pullchain.Request{Op: pullchain.Manifest, Repo: "library/alpine", Tag: tag})
		if err != nil {
			fmt.Println(pullchain.ReasonOf(err), pullchain.CodeOf(err), err.(*pullchain.Error).RetryAfter)
			continue
		}
		fmt.Println(resp.MediaType, resp.Size, resp.Digest.Encoded()[:8])
		resp.Body.Close()
	}
	// Output:
	// application/vnd.oci.image.manifest.v1+json 246 f20c4316
	// limited http_429_quota 1m0s
}
