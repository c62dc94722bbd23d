package upstreams

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// TestValidate: every mistake is named by its TOML key, and all at once.
func TestValidate(t *testing.T) {
	t.Parallel()
	ok := Config{Name: "hub", URL: "https://registry-1.docker.io"}
	tests := map[string]struct {
		change func(*Config)
		want   []string // how the lines of the error begin; none: valid
	}{
		"least":              {func(*Config) {}, nil},
		"a port and a path":  {func(c *Config) { c.URL = "http://10.0.0.5:5000/dockerhub/" }, nil},
		"login":              {func(c *Config) { c.Username, c.PasswordFile = "u", "f" }, nil},
		"token":              {func(c *Config) { c.TokenFile = "f" }, nil},
		"own headers":        {func(c *Config) { c.Headers = map[string]pullchain.Secret{"X-Relay-Key": "k"} }, nil},
		"nothing":            {func(c *Config) { *c = Config{} }, []string{"name: is required", "url: is required"}},
		"no scheme":          {func(c *Config) { c.URL = "registry-1.docker.io" }, []string{`url: "registry-1.docker.io" does not begin`}},
		"another scheme":     {func(c *Config) { c.URL = "ftp://x" }, []string{`url: "ftp://x" does not begin`}},
		"login and scheme":   {func(c *Config) { c.URL = "u:hunter2@x" }, []string{"url: it does not begin"}},
		"no host":            {func(c *Config) { c.URL = "https:///v2" }, []string{"url: has no host"}},
		"not a URL":          {func(c *Config) { c.URL = "https://x y\x7f" }, []string{"url: is not a URL"}},
		"login in the URL":   {func(c *Config) { c.URL = "https://u:hunter2@x" }, []string{"url: must not hold a login"}},
		"query":              {func(c *Config) { c.URL = "https://x/?a=b" }, []string{"url: must not have a query"}},
		"fragment":           {func(c *Config) { c.URL = "https://x/#a" }, []string{"url: must not have a query"}},
		"trust":              {func(c *Config) { c.Trust = "push" }, []string{"trust:"}},
		"user alone":         {func(c *Config) { c.Username = "u" }, []string{"username:"}},
		"password alone":     {func(c *Config) { c.PasswordFile = "f" }, []string{"username:"}},
		"both logins":        {func(c *Config) { c.Username, c.PasswordFile, c.TokenFile = "u", "f", "g" }, []string{"token_file:"}},
		"our header":         {func(c *Config) { c.Headers = map[string]pullchain.Secret{"authorization": "k"} }, []string{"headers:"}},
		"hop-by-hop header":  {func(c *Config) { c.Headers = map[string]pullchain.Secret{"Proxy-Authorization": "k"} }, []string{"headers:"}},
		"glob":               {func(c *Config) { c.RedirectHosts = []string{"*.docker.com", "[a"} }, []string{"redirect_hosts:"}},
		"connections":        {func(c *Config) { c.MaxConnections = -1 }, []string{"max_connections:"}},
		"negative time-outs": {func(c *Config) { c.Timeouts = Timeouts{Connect: -1} }, []string{"timeouts.connect:"}},
		"rewrites": {func(c *Config) {
			c.Rewrite = []Rewrite{{"coredns/coredns", "coredns"}, {"library/", ""}, {"a/", "b/c/"}}
		}, nil},
		"rewrite from none": {func(c *Config) { c.Rewrite = []Rewrite{{"", "x"}} }, []string{"rewrite: from: repository name is empty"}},
		"rewrite to none":   {func(c *Config) { c.Rewrite = []Rewrite{{"x", ""}} }, []string{"rewrite: to: repository name is empty"}},
		"rewrite upwards":   {func(c *Config) { c.Rewrite = []Rewrite{{"x", "../y"}} }, []string{"rewrite: to: repository name"}},
		"rewrite of a part": {func(c *Config) { c.Rewrite = []Rewrite{{"x/", "y"}, {"x", "y/"}} }, []string{"rewrite: from and to are", "rewrite: from and to are"}},
		"several":           {func(c *Config) { c.Trust, c.MaxConnections = "x", -1 }, []string{"trust:", "max_connections:"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := ok
			tt.change(&cfg)
			err := cfg.Validate()
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(tt.want) {
				t.Fatalf("%d mistakes, want %d:\n%v", len(lines), len(tt.want), err)
			}
			for i, line := range lines {
				if !strings.HasPrefix(line, tt.want[i]) {
					t.Errorf("%q does not begin with %q", line, tt.want[i])
				}
				if strings.Contains(line, "hunter2") {
					t.Errorf("the error shows the password: %q", line)
				}
			}
		})
	}
}

// TestURL: how upstreams spell what a client asks for.
func TestURL(t *testing.T) {
	t.Parallel()
	const hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	d := digest.Digest("sha256:" + hex)
	alpine := pullchain.Request{Op: pullchain.Manifest, Repo: "library/alpine", Tag: "3.20"}
	tests := map[string]struct {
		url  string
		req  pullchain.Request
		want string
	}{
		"plain":                     {"https://registry-1.docker.io", alpine, "https://registry-1.docker.io/v2/library/alpine/manifests/3.20"},
		"a slash at the end":        {"https://registry-1.docker.io/", alpine, "https://registry-1.docker.io/v2/library/alpine/manifests/3.20"},
		"a port":                    {"http://10.0.0.5:5000", alpine, "http://10.0.0.5:5000/v2/library/alpine/manifests/3.20"},
		"Harbor's proxy project":    {"https://harbor.example/dockerhub", alpine, "https://harbor.example/v2/dockerhub/library/alpine/manifests/3.20"},
		"a project of two parts":    {"https://artifactory.example/docker/hub", alpine, "https://artifactory.example/v2/docker/hub/library/alpine/manifests/3.20"},
		"override_path":             {"https://mirror.example/docker.io/v2", alpine, "https://mirror.example/docker.io/v2/library/alpine/manifests/3.20"},
		"override_path with slash":  {"https://mirror.example/docker.io/v2/", alpine, "https://mirror.example/docker.io/v2/library/alpine/manifests/3.20"},
		"v2 alone":                  {"https://mirror.example/v2", alpine, "https://mirror.example/v2/library/alpine/manifests/3.20"},
		"a project that ends in v2": {"https://mirror.example/appv2", alpine, "https://mirror.example/v2/appv2/library/alpine/manifests/3.20"},
		"manifest by digest":        {"https://x", pullchain.Request{Op: pullchain.Manifest, Repo: "a", Digest: d}, "https://x/v2/a/manifests/sha256:" + hex},
		"tag and digest":            {"https://x", pullchain.Request{Op: pullchain.Manifest, Repo: "a", Tag: "1", Digest: d}, "https://x/v2/a/manifests/sha256:" + hex},
		"blob":                      {"https://x/hub", pullchain.Request{Op: pullchain.Blob, Repo: "a/b", Digest: d, Query: "secret=1"}, "https://x/v2/hub/a/b/blobs/sha256:" + hex},
		"tags":                      {"https://x", pullchain.Request{Op: pullchain.Tags, Repo: "a/b", Query: "n=2&last=1.0"}, "https://x/v2/a/b/tags/list?n=2&last=1.0"},
		"referrers":                 {"https://x", pullchain.Request{Op: pullchain.Referrers, Repo: "a", Digest: d, Query: "artifactType=x"}, "https://x/v2/a/referrers/sha256:" + hex + "?artifactType=x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := testUpstream(t, Config{Name: "x", URL: tt.url})
			if got := u.url(tt.req).String(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   Timeouts
		want limits
	}{
		"defaults": {Timeouts{}, limits{5 * time.Second, 8 * time.Second, 10 * time.Second, 20 * time.Second, 10 * time.Second, time.Minute}},
		"all set":  {Timeouts{1, 2, 3, 4}, limits{1, 1, 2, 2, 3, 4}},
	}
	for name, tt := range tests {
		got := Config{Timeouts: tt.in}.limits()
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(limits{})); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestSkew(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 600e6, time.UTC)
	tests := map[string]struct {
		date time.Time
		want time.Duration
	}{
		"in step":               {now.Truncate(time.Second), 0},
		"a second's resolution": {now.Add(-1900 * time.Millisecond), 0},
		"behind":                {now.Add(-5 * time.Minute), -5 * time.Minute},
		"ahead":                 {now.Add(time.Hour + 400*time.Millisecond), time.Hour},
	}
	for name, tt := range tests {
		if got := skew(tt.date, now); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// TestNewErrors: what only trying shows.
func TestNewErrors(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"not valid":    {},
		"no CA file":   {Name: "x", URL: "https://x", CAFile: "testdata/missing.pem"},
		"not a CA PEM": {Name: "x", URL: "https://x", CAFile: "config_test.go"},
	} {
		if u, err := New(cfg, egressDirect); err == nil {
			u.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
