package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/config"
)

// write makes a file in dir and returns its path.
func write(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

const withLogin = `[[registry]]
name = "ghcr.io"
  [[registry.upstream]]
  name = "ghcr"
  url = "https://ghcr.io"
  username = "me"
  password_file = "secrets/ghcr"
`

func TestSecretsCountFromTheFilesFolder(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, content, want string }{
		{"bare", "hunter2", "hunter2"},
		{"with a line end", "hunter2\n", "hunter2"},
		{"with a Windows line end", "hunter2\r\n", "hunter2"},
		{"with spaces, which may be meant", " hunter 2 \n", " hunter 2 "},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		path := write(t, dir, "pullchain.toml", withLogin, 0o644)
		write(t, dir, "secrets/ghcr", tt.content, 0o600)
		cfg, err := config.Load(path)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := cfg.Registries[0].Upstreams[0].Password.Reveal(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if len(cfg.Warnings) != 0 {
			t.Errorf("%s: warnings %q", tt.name, cfg.Warnings)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := `[egress.spare]
url = "socks5://127.0.0.1:1080"

` + strings.Replace(withLogin, "https", "http", 1) + "  insecure_skip_verify = true\n"
	path := write(t, dir, "pullchain.toml", text, 0o644)
	secret := write(t, dir, "secrets/ghcr", "hunter2", 0o644)
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.NewReplacer(path, "FILE", secret, "SECRET").Replace(strings.Join(cfg.Warnings, "\n"))
	want := `FILE:1:1: egress "spare": no upstream, no [[notify]] and no [traces] uses it
FILE:8:3: registry "ghcr.io": upstream "ghcr": url: the login travels over plain http
FILE:10:3: registry "ghcr.io": upstream "ghcr": password_file: every user of this machine can read SECRET: chmod o= SECRET
FILE:11:3: registry "ghcr.io": upstream "ghcr": insecure_skip_verify: anybody on the way can read and change what this upstream sends; ca_file is the better way`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestHeaderThatLooksLikeALogin warns of a header that may open what is not
// for every client, unless the file says whose it is.
func TestHeaderThatLooksLikeALogin(t *testing.T) {
	t.Parallel()
	const upstream = "[[registry]]\nname = \"quay.io\"\n[[registry.upstream]]\nname = \"quay\"\nurl = \"https://quay.io\"\n"
	for _, tt := range []struct {
		header, more string
		warns        bool
	}{
		{"PRIVATE-TOKEN", "", true},
		{"X-Api-Key", "", true},
		{"X-Amz-Security-Token", "", true},
		{"CF-Access-Client-Secret", "", true},
		{"X-Auth", "", true},
		{"X-Auth", "private = true\n", false},
		{"X-Auth", "private = false\n", false},
		{"X-Auth", "token_file = \"token\"\n", false},
		{"X-Pullchain-Key", "", false}, // of our own relay, which reads as any anonymous client does
		{"X-Team", "", false},
	} {
		cfg, err := config.Parse("x.toml", []byte(upstream+"headers = { "+tt.header+" = \"hunter2\" }\n"+tt.more), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.header, err)
			continue
		}
		warnings := strings.Join(cfg.Warnings, "\n")
		if got := strings.Contains(warnings, tt.header) && strings.Contains(warnings, "private = true"); got != tt.warns || strings.Contains(warnings, "hunter2") {
			t.Errorf("%s, %q: warnings %q", tt.header, tt.more, warnings)
		}
	}
}

// TestReloadSeesWhatChanged: a reload carries over the upstreams that are
// deeply equal, so equal files must give equal ones, and a secret or a CA that
// changed under the same name must not.
func TestReloadSeesWhatChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, _ := selfSigned(t)
	path := write(t, dir, "pullchain.toml", withLogin+"  ca_file = \"ca.pem\"\n", 0o644)
	write(t, dir, "secrets/ghcr", "hunter2", 0o600)
	write(t, dir, "ca.pem", ca, 0o644)
	load := func() config.Upstream {
		cfg, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Registries[0].Upstreams[0]
	}
	first := load()
	if !reflect.DeepEqual(first, load()) {
		t.Error("nothing changed, and yet they differ")
	}
	if first.CAFile != filepath.Join(dir, "ca.pem") {
		t.Errorf("ca_file is %q, want it in the file's folder", first.CAFile)
	}
	write(t, dir, "ca.pem", ca+"\n# and a comment\n", 0o644)
	if reflect.DeepEqual(first, load()) {
		t.Error("another CA file, and yet they are equal")
	}
	write(t, dir, "ca.pem", ca, 0o644)
	write(t, dir, "secrets/ghcr", "hunter3", 0o600)
	if reflect.DeepEqual(first, load()) {
		t.Error("another password, and yet they are equal")
	}
}

func TestListenersCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := selfSigned(t)
	_, otherKey := selfSigned(t)
	path := write(t, dir, "pullchain.toml", "[server]\ntls_cert = \"tls.crt\"\ntls_key = \"tls.key\"\nhttp2 = true\n", 0o644)
	write(t, dir, "tls.crt", cert, 0o644)
	keyPath := write(t, dir, "tls.key", key, 0o600)
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Server.TLSCert != filepath.Join(dir, "tls.crt") || cfg.Server.TLSKey != keyPath || len(cfg.Warnings) != 0 {
		t.Errorf("certificate %q, key %q, warnings %q", cfg.Server.TLSCert, cfg.Server.TLSKey, cfg.Warnings)
	}

	write(t, dir, "tls.key", key, 0o644)
	if cfg, err = config.Load(path); err != nil || len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], "tls_key") {
		t.Errorf("a key that everybody can read: %v, %+v; want one warning", err, cfg)
	}

	write(t, dir, "tls.key", otherKey, 0o600)
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "private key does not match public key") {
		t.Errorf("the key of another certificate: %v", err)
	}
}

// selfSigned makes a certificate and its key, as PEM.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(name string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
}

func TestLoadWithoutFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.toml")
	_, err := config.Load(path)
	if errs := config.Errors(err); len(errs) != 1 || !strings.HasPrefix(err.Error(), path+": ") || strings.Count(err.Error(), path) != 1 {
		t.Errorf("Load: %v, want one Error that names the path once", err)
	}
	cfg, err := config.Load("")
	if err != nil || cfg.File != config.Embedded {
		t.Errorf("Load of nothing: %v, want the embedded configuration", err)
	}
}

func TestFind(t *testing.T) {
	home := t.TempDir()
	cwd := t.TempDir()
	t.Chdir(cwd)
	xdg := filepath.Join(home, "xdg")
	env := func(vars ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(vars); i += 2 {
				if vars[i] == name {
					return vars[i+1]
				}
			}
			return ""
		}
	}
	find := func(want, explicit string, env func(string) string) {
		t.Helper()
		if got := config.Find(explicit, env); got != want {
			t.Errorf("Find(%q) = %q, want %q", explicit, got, want)
		}
	}

	system := ""
	if _, err := os.Stat("/etc/pullchain/pullchain.toml"); err == nil {
		system = "/etc/pullchain/pullchain.toml"
	}
	find(system, "", env("HOME", home, "XDG_CONFIG_HOME", xdg))

	inHome := write(t, home, ".config/pullchain/pullchain.toml", "", 0o644)
	find(inHome, "", env("HOME", home))
	find(system, "", env("HOME", home, "XDG_CONFIG_HOME", xdg))
	inXDG := write(t, xdg, "pullchain/pullchain.toml", "", 0o644)
	find(inXDG, "", env("HOME", home, "XDG_CONFIG_HOME", xdg))

	write(t, cwd, "pullchain.toml", "", 0o644)
	find("pullchain.toml", "", env("HOME", home, "XDG_CONFIG_HOME", xdg))
	find("/no/such/file", "", env("HOME", home, "PULLCHAIN_CONFIG", "/no/such/file"))
	find("mine.toml", "mine.toml", env("HOME", home, "PULLCHAIN_CONFIG", "/no/such/file"))
}

// TestCacheDirCountsFromTheFilesFolder, as that of the secrets does.
func TestCacheDirCountsFromTheFilesFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for says, want := range map[string]string{
		"":             "",
		"blobs":        filepath.Join(dir, "blobs"),
		"../elsewhere": filepath.Join(filepath.Dir(dir), "elsewhere"),
		"/srv/blobs":   "/srv/blobs",
	} {
		path := write(t, dir, "pullchain.toml", "[cache]\ndir = \""+says+"\"\n", 0o644)
		cfg, err := config.Load(path)
		if err != nil || cfg.Cache.Dir != want {
			t.Errorf("dir = %q: %q, %v; want %q", says, cfg.Cache.Dir, err, want)
		}
	}
}
