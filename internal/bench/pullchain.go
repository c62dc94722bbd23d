//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build returns the program under test: the one that the flag names, or one
// that it builds as releases are built, once.
func (b *bench) build() (string, error) {
	b.built.Do(func() {
		if b.opts.program != "" {
			b.program = b.opts.program
			return
		}
		b.progress("building pullchain")
		b.program = filepath.Join(b.dir, "pullchain-bin")
		flags := "-s -w"
		if b.opts.profile != "" {
			flags = "" // perf needs the names of functions
		}
		cmd := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-ldflags", flags, "-o", b.program, "github.com/pullchain/pullchain/cmd/pullchain")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.buildErr = fmt.Errorf("build pullchain: %w: %s", err, out)
		}
	})
	return b.program, b.buildErr
}

// pullchainConfig is a configuration as a user would write it. The addresses
// of a simulated internet are private ones, which takes a permission.
func pullchainConfig(s *server, admin string, up setup) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[server]\nlisten = %q\n", s.target.addr)
	if up.cert != nil {
		fmt.Fprintf(&b, "tls_cert = %q\ntls_key = %q\n", up.cert.cert, up.cert.key)
	}
	fmt.Fprintf(&b, "\n[admin]\nlisten = %q\nstate_dir = \"off\"\n", admin)
	// Larger than all content of a run: eviction is not what is measured.
	fmt.Fprintf(&b, "\n[cache]\ndir = %q\nmax_size = \"50GiB\"\n", filepath.Join(s.dir, "store"))
	b.WriteString("\n[[registry]]\nname = \"docker.io\"\n")
	for i, u := range up.upstreams {
		fmt.Fprintf(&b, "\n[[registry.upstream]]\nname = %q\nurl = %q\nauthoritative = %t\ntrust = \"resolve\"\nca_file = %q\nallow_private = true\n",
			u.name, u.url, i == 0, up.ca)
		if up.stall > 0 {
			fmt.Fprintf(&b, "[registry.upstream.timeouts]\nstall = %q\n", up.stall)
		}
	}
	return b.String()
}
