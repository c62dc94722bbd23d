package daemon_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
)

// overSocket is a client of the operator's plane at a socket.
func overSocket(t *testing.T, path string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Over the socket its permissions are the credential: there is no token to send, and what
// is done is done by the user at the other end, where the system tells.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "pc") // a socket's path may be a hundred bytes long, and no more
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	token, socket := filepath.Join(dir, "token"), filepath.Join(dir, "a.sock")
	if err := os.WriteFile(token, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPair(t, nil)
	p.rewrite(`[admin]`, "[admin]\ntoken_file = \""+token+"\"\nsocket = \""+socket+"\"")
	p.restart()
	if info, err := os.Stat(socket); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if _, status, code := p.act(ofA+"drain", `{}`); status != http.StatusUnauthorized || code != "unauthorized" {
		t.Errorf("over TCP: %d %s", status, code)
	}
	peer := "unix socket"
	if u, err := user.Current(); err == nil && runtime.GOOS == "linux" {
		peer = u.Username + " (unix socket)"
	}
	client := overSocket(t, socket)
	resp, err := client.Post("http://any.name/api/v1/"+ofA+"drain", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if list := p.Daemon.Snapshot().Overrides; resp.StatusCode != http.StatusOK || len(list) != 1 || list[0].Actor != peer {
		t.Errorf("over the socket: %d, %+v", resp.StatusCode, list)
	}
	client.CloseIdleConnections()
	p.end()
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
	p.start()
}

// What a killed daemon has left is replaced. Nothing else is.
func TestAdminSocketThatIsThere(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "pc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"stale", "live"} {
		l, err := net.Listen("unix", at(name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "stale" {
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
		} else {
			defer l.Close()
		}
	}
	if err := os.WriteFile(at("file"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{"stale": "", "live": "another process answers", "file": "no socket", "no/such/folder": "no such file"} {
		cfg, err := config.Parse("x.toml", []byte("[server]\nlisten = \"127.0.0.1:0\"\n[cache]\nenabled = false\n[admin]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"off\"\nsocket = \""+at(name)+"\"\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		d, err := daemon.New(cfg, daemon.Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = d.Listen()
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "admin.socket")) {
			t.Errorf("%s: %v, want %q", name, err, says)
		}
		if err == nil {
			ctx, stop := context.WithCancel(t.Context())
			stop()
			if err := d.Run(ctx); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if text, err := os.ReadFile(at("file")); string(text) != "mine" {
		t.Errorf("the file has %q, %v", text, err)
	}
}
