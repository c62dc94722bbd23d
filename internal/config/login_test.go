package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
)

// TestSystemdCredentials: a secret that the service manager has put into a directory of
// the service's own (systemd.exec(5), LoadCredential=).
func TestSystemdCredentials(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	write(t, dir, "hub", "hunter2", 0o400)
	path := write(t, t.TempDir(), "pullchain.toml", strings.Replace(withLogin, `"secrets/ghcr"`, `"${CREDENTIALS_DIRECTORY}/hub"`, 1), 0o644)
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Registries[0].Upstreams[0].Password.Reveal(); got != "hunter2" || len(cfg.Warnings) > 0 {
		t.Errorf("password %q, warnings %q", got, cfg.Warnings)
	}
}

// TestCredentialHelper: one that is not installed is told of at the start, and counts as a
// login on whatever address the caller listens.
func TestCredentialHelper(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	path := write(t, t.TempDir(), "pullchain.toml", `[[registry]]
name = "docker.io"
  [[registry.upstream]]
  name = "hub"
  url = "https://registry-1.docker.io"
  credential_helper = "ecr-login"
`, 0o644)
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(cfg.Warnings, "\n"); !strings.Contains(got, ":6:3: ") || !strings.Contains(got, "docker-credential-ecr-login is not in PATH: install it there") {
		t.Errorf("warnings %q", got)
	}
	if err := cfg.CheckLogins("0.0.0.0:5151"); err == nil {
		t.Error("may be served to everybody")
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-ecr-login"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if cfg, err = config.Load(path); err != nil || len(cfg.Warnings) > 0 {
		t.Errorf("%v, warnings %q", err, cfg.Warnings)
	}
}

// TestClientCertificate: its files count from the file's folder, one that is over is told of, and it counts as a
// login on whatever address the caller listens.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := selfSigned(t) // which has no time at all
	certPath, keyPath := write(t, dir, "client.cert", cert, 0o644), write(t, dir, "client.key", key, 0o600)
	path := write(t, dir, "pullchain.toml", `[[registry]]
name = "harbor.example.com"
  [[registry.upstream]]
  name = "harbor"
  url = "https://harbor.example.com"
  client_cert = "client.cert"
  client_key = "client.key"
`, 0o644)
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if u := cfg.Registries[0].Upstreams[0]; u.ClientCert != certPath || u.ClientKey != keyPath {
		t.Errorf("client_cert %q, client_key %q", u.ClientCert, u.ClientKey)
	}
	if got := strings.Join(cfg.Warnings, "\n"); strings.Count(got, "\n") > 0 || !strings.Contains(got, ":6:3: ") || !strings.Contains(got, "is good until 0001-01-01") {
		t.Errorf("warnings %q", got)
	}
	if err := cfg.CheckLogins("0.0.0.0:5151"); err == nil {
		t.Error("may be served to everybody")
	}
}
