package front

import (
	"net/http"
	"strings"
	"testing"
)

// A registry that a client made up is served by path and by ns; by that name no client
// reaches this mirror, nor is it shown.
func TestAskedRegistryIsNoHost(t *testing.T) {
	t.Parallel()
	fetcher := &fakeFetcher{fetch: healthy}
	routes, err := NewRoutes([]Registry{{Name: "docker.io", Fetcher: fetcher}, {Name: "mirror.shop.example", Fetcher: fetcher, Asked: true}})
	if err != nil {
		t.Fatal(err)
	}
	h, _ := newHandler(t, Config{}, fetcher)
	h.SetRoutes(routes)
	s := serve(t, h)
	const path = "/v2/library/alpine/manifests/3"
	for _, form := range []string{path + "?ns=mirror.shop.example", "/v2/mirror.shop.example/library/alpine/manifests/3"} {
		if g := do(t, s.Client(), "GET", s.URL+form); g.Status != http.StatusOK || g.Header.Get("Oci-Namespace") != "mirror.shop.example" {
			t.Errorf("%s: %d for %q", form, g.Status, g.Header.Get("Oci-Namespace"))
		}
	}
	if g := do(t, s.Client(), "GET", s.URL+path, "Host: mirror.shop.example"); g.Status != http.StatusForbidden {
		t.Errorf("by that name: %d for %q", g.Status, g.Header.Get("Oci-Namespace"))
	}
	for _, name := range routes.registries() {
		if strings.Contains(name, "shop") {
			t.Errorf("%q is shown", name)
		}
	}
	named, _ := newHandler(t, Config{AllowedHosts: []string{"mirror.shop.example"}}, fetcher)
	named.SetRoutes(routes)
	if g := do(t, serve(t, named).Client(), "GET", serve(t, named).URL+path, "Host: mirror.shop.example"); g.Header.Get("Oci-Namespace") != "docker.io" {
		t.Errorf("by the mirror's own name: %d for %q", g.Status, g.Header.Get("Oci-Namespace"))
	}
}
