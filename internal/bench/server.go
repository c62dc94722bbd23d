//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// The servers, by the names that the table gives them.
const (
	pullchain    = "pullchain"
	nginx        = "nginx"
	distribution = "distribution"
)

var peers = []string{nginx, distribution}

// bare is the least that a server in Go can be: net/http with files, no log, no
// chain, nothing. No goal is set by it; it shows what the others' code costs.
const bare = "bare net/http"

// warmPeers are those whose warm answers are compared.
var warmPeers = []string{nginx, distribution, bare}

// A setup is what a server is to stand in front of, and how it is to be reached.
type setup struct {
	upstreams []upstream   // the first is the registry itself; only pullchain can have several
	ca        string       // PEM file that the upstreams' certificates come from
	cert      *certificate // nil: clients come over plain HTTP
	stall     time.Duration
	content   *simnet.Content // what the bare server has
}

// An upstream is one path to the registry.
type upstream struct{ name, url string }

// A server runs in a folder of its own with an empty cache.
type server struct {
	name   string
	target target
	proc   *process
	dir    string
	admin  string // URL of pullchain's operator plane
	start  time.Duration
	http   *http.Client
}

// errAbsent is why a peer has no figures.
var errAbsent = errors.New("is not installed")

// packages says how Debian calls what has the programs.
var packages = map[string]struct{ program, apt string }{
	nginx:        {"nginx", "nginx-light"},
	distribution: {"docker-registry", "docker-registry"},
}

// find returns the path of a peer's program. On Debian some are in a sbin that
// only root has in PATH.
func find(peer string) (string, error) {
	p := packages[peer]
	for _, name := range []string{p.program, "/usr/sbin/" + p.program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s %w (apt package %s)", p.program, errAbsent, p.apt)
}

// startServer starts one of the three and waits for its first answer.
func (b *bench) startServer(ctx context.Context, name string, up setup) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, fileName(name)+"-")
	if err != nil {
		return nil, err
	}
	s := &server{name: name, dir: dir}
	// The port is free now and may be taken in a moment; then the server says so,
	// and the run ends. None of the peers can be given an open socket.
	if s.target.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if up.cert != nil {
		s.target.tls = up.cert.client
	}
	program, args, err := b.prepare(s, up)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	// A clean environment: a proxy of this machine's would stand between the server
	// and the registry.
	env := cleanEnv(dir, "SSL_CERT_FILE="+up.ca) // for distribution, which has no setting of its own
	if s.proc, err = startProcess(filepath.Join(dir, "output.log"), env, program, args...); err != nil {
		return nil, err
	}
	if err := s.proc.answers(ctx, s.target); err != nil {
		s.proc.stop()
		return nil, err
	}
	s.start = time.Since(began)
	s.http = newClient(s.target.tls)
	return s, nil
}

// prepare writes the server's configuration and says how to run it.
func (b *bench) prepare(s *server, up setup) (program string, args []string, err error) {
	switch s.name {
	case nginx:
		program, err = find(nginx)
		if err != nil {
			return "", nil, err
		}
		conf := filepath.Join(s.dir, "nginx.conf")
		return program, []string{"-p", s.dir, "-e", filepath.Join(s.dir, "error.log"), "-c", conf}, writeNginx(s, up)
	case distribution:
		program, err = find(distribution)
		if err != nil {
			return "", nil, err
		}
		conf := filepath.Join(s.dir, "config.yml")
		return program, []string{"serve", conf}, os.WriteFile(conf, []byte(distributionConfig(s, up)), 0o600)
	case bare:
		program, err = os.Executable()
		args = []string{bareCommand, s.dir, s.target.addr}
		if up.cert != nil {
			args = append(args, up.cert.cert, up.cert.key)
		}
		return program, args, errors.Join(err, writeBare(s.dir, up.content))
	}
	if program, err = b.build(); err != nil {
		return "", nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return "", nil, err
	}
	s.admin = "http://" + admin
	conf := filepath.Join(s.dir, "pullchain.toml")
	return program, []string{"run", "--config", conf}, os.WriteFile(conf, []byte(pullchainConfig(s, admin, up)), 0o600)
}

// stop ends the server and removes all it has written.
func (s *server) stop() {
	s.http.CloseIdleConnections()
	s.proc.stop()
	_ = os.RemoveAll(s.dir) // the bench's own folder goes too
}
