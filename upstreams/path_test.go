package upstreams

import "testing"

// A path says where the API is, which project is meant, or both.
func TestSplitPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, base, prefix string }{
		{"", "/v2", ""},
		{"/v2", "/v2", ""},
		{"/hub/v2", "/hub/v2", ""},
		{"/artifactory/api/docker/remote/v2", "/artifactory/api/docker/remote/v2", ""},
		{"/v2/hub/v2", "/v2/hub/v2", ""}, // containerd's override_path
		{"/proxy-dockerhub", "/v2", "proxy-dockerhub/"},
		{"/google_containers/x", "/v2", "google_containers/x/"},
		{"/v2/proxy-dockerhub", "/v2", "proxy-dockerhub/"},
		{"/v2/team/proxy", "/v2", "team/proxy/"},
		{"/v2x/proxy", "/v2", "v2x/proxy/"},
	} {
		if base, prefix := splitPath(tt.path); base != tt.base || prefix != tt.prefix {
			t.Errorf("%q: base %q and prefix %q, want %q and %q", tt.path, base, prefix, tt.base, tt.prefix)
		}
	}
}
