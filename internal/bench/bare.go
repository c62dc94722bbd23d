//go:build linux

package main

import (
	"errors"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

// bareCommand as the first argument makes this program the bare server:
// bench bare DIR ADDR [CERT KEY].
const bareCommand = "bare"

// writeBare writes what the bare server has: each digest, and each tag, is a
// file.
func writeBare(dir string, img *simnet.Content) error {
	var errs []error
	write := func(name string, data []byte) {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	for d, manifest := range img.Manifests {
		write(string(d), manifest)
	}
	for d, blob := range img.Blobs {
		write(string(d), blob)
	}
	for _, tag := range img.Tags {
		write(tag, img.Manifest())
	}
	return errors.Join(errs...)
}

// runBare serves until it is killed.
func runBare(args []string) error {
	if len(args) != 2 && len(args) != 4 {
		return errors.New("usage: bench bare DIR ADDR [CERT KEY]")
	}
	srv := &http.Server{Addr: args[1], Handler: newBare(args[0]), ReadHeaderTimeout: 10 * time.Second}
	if len(args) == 2 {
		return srv.ListenAndServe()
	}
	// As pullchain: no HTTP/2 (containerd resumes a cut body over HTTP/1.1 alone).
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	return srv.ListenAndServeTLS(args[2], args[3])
}

// newBare answers manifests from memory and blobs from files.
func newBare(dir string) http.Handler {
	manifests := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return http.NotFoundHandler()
	}
	const small = 64 << 10
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Size() <= small {
			manifests[e.Name()], _ = os.ReadFile(filepath.Join(dir, e.Name())) // else a 404 tells
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		switch {
		case strings.Contains(r.URL.Path, "/manifests/") && manifests[name] != nil:
			h := w.Header()
			h["Content-Type"] = []string{simnet.TypeOCIManifest}
			h["Docker-Content-Digest"] = []string{name}
			_, _ = w.Write(manifests[name])
		case digest.Digest(name).Validate() == nil:
			w.Header()["Content-Type"] = []string{"application/octet-stream"}
			http.ServeFile(w, r, filepath.Join(dir, name))
		case r.URL.Path == "/v2/":
		default:
			http.NotFound(w, r)
		}
	})
}
