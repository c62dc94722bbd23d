//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// distributionConfig is Debian's /etc/docker/registry/config.yml with a remote
// URL, which makes the registry a pull-through cache.
func distributionConfig(s *server, up setup) string {
	var b strings.Builder
	fmt.Fprintf(&b, `version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: %q
  delete:
    enabled: true
http:
  addr: %q
  secret: bench
  headers:
    X-Content-Type-Options: [nosniff]
`, filepath.Join(s.dir, "store"), s.target.addr)
	if up.cert != nil {
		fmt.Fprintf(&b, "  tls:\n    certificate: %q\n    key: %q\n", up.cert.cert, up.cert.key)
	}
	fmt.Fprintf(&b, "proxy:\n  remoteurl: %q\n", up.upstreams[0].url)
	return b.String()
}
