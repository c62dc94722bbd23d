//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A stage is a simulated internet with one registry, whose blobs come from a CDN
// by redirect, and all servers in front of it. The registry announces tokens, as
// all public ones do, and does without: nginx cannot get any, and distribution
// would ask for a challenge before every request if there were none.
type stage struct {
	net     *simnet.Net
	hub     *simnet.Hub
	ca      string // PEM file
	servers []*server
	bare    *server           // for warm measures
	absent  map[string]string // peers that are not installed, and how to get them
	warm    *simnet.Content   // layer 0 is the big one, layer 1 the one for many streams
	used    int               // repositories pushed
}

// stage returns the stage with clients over plain HTTP or TLS, built and warm.
func (b *bench) stage(secure bool) (*stage, error) {
	at := &b.plain
	if secure {
		at = &b.secure
	}
	if *at != nil {
		return *at, nil
	}
	// One stage for all measures of a kind: a server that has just started is
	// slower than it will be, and content that is warm takes a while.
	st, err := b.newStage()
	*at = st // so that it is closed, whatever happens
	if err != nil {
		return nil, err
	}
	up := setup{upstreams: []upstream{{"hub", st.hub.URL()}}, ca: st.ca}
	if secure {
		up.cert = &b.cert
	}
	if err := b.startAll(st, up); err != nil {
		b.leave(at)
		return nil, err
	}
	up.content = st.warm
	if st.bare, err = b.startServer(b.ctx, bare, up); err != nil {
		b.leave(at)
		return nil, fmt.Errorf("start %s: %w", bare, err)
	}
	for _, s := range st.warmServers() {
		if err := st.check(b.ctx, s); err != nil {
			b.leave(at)
			return nil, err
		}
	}
	return st, st.idle(b.ctx)
}

// newStage makes the simulated internet, without servers yet.
func (b *bench) newStage() (*stage, error) {
	st := &stage{net: simnet.New(simnet.Config{}), absent: map[string]string{}}
	image := simnet.Image{Repo: "bench/warm", Tags: []string{"1"}, Layers: []simnet.Layer{
		simnet.BigLayer(b.sizes.warm, 1), simnet.BigLayer(b.sizes.stream, 2),
	}}
	for i := range 6 { // which makes a manifest of usual size, 1.5 KB
		image.Layers = append(image.Layers, simnet.BigLayer(kib, uint64(3+i)))
	}
	st.hub = st.net.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Open: true, Images: []simnet.Image{image}})
	auth := st.net.AddAuth(simnet.AuthConfig{Origin: simnet.Origin{Name: "hub-auth"}, Service: "hub", TTL: time.Hour})
	// The challenge is on /v2/ alone, see stage.
	st.hub.Inject(simnet.Fault{On: simnet.Ping, Status: http.StatusUnauthorized, Header: map[string]string{
		"WWW-Authenticate": `Bearer realm="` + auth.Realm() + `",service="hub"`,
	}})
	st.warm = st.net.Build(image)
	var err error
	st.ca, err = b.writeCA(st.net)
	return st, err
}

// writeCA writes what the servers are to trust.
func (b *bench) writeCA(n *simnet.Net) (string, error) {
	f, err := os.CreateTemp(b.dir, "ca-*.pem")
	if err != nil {
		return "", err
	}
	_, err = f.Write(n.CAPEM())
	return filepath.Clean(f.Name()), errors.Join(err, f.Close())
}

// startAll starts pullchain and those of its peers that are installed.
func (b *bench) startAll(st *stage, up setup) error {
	for _, name := range []string{pullchain, nginx, distribution} {
		s, err := b.startServer(b.ctx, name, up)
		if errors.Is(err, errAbsent) {
			st.absent[name] = err.Error()
			continue
		}
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		st.servers = append(st.servers, s)
	}
	return nil
}

// check pulls what will be warm through s, twice, and compares it.
func (st *stage) check(ctx context.Context, s *server) error {
	if err := s.sameCipher(ctx); err != nil {
		return err
	}
	// The second time it has to come from the cache, whatever a server does on a
	// first miss.
	for range 2 {
		if _, err := get(ctx, s.http, s.target.url()+st.warm.Path(), "", false); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		p, err := get(ctx, s.http, s.target.url()+st.warm.ManifestPath(st.warm.Root.Digest.String()), "", true)
		if err == nil && p.digest != st.warm.Root.Digest.String() {
			err = fmt.Errorf("manifest %s came as %s", st.warm.Root.Digest, p.digest)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, l := range st.warm.LayerList[0] {
			if err := checkBlob(ctx, s, st.warm, l.Digest.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBlob pulls a blob and compares its digest: a server that is fast with wrong
// bytes has measured nothing.
func checkBlob(ctx context.Context, s *server, img *simnet.Content, digest string) error {
	p, err := get(ctx, s.http, s.target.url()+"/v2/"+img.Repo+"/blobs/"+digest, "", true)
	if err == nil && p.digest != digest {
		err = fmt.Errorf("blob %s came as %s", digest, p.digest)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// idle waits until no upstream is busy any more: distribution fetches what it
// keeps a second time, behind its client.
func (st *stage) idle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return st.net.Ledger().WaitIdle(ctx)
}

// push adds a repository of n layers that no cache has seen yet.
func (st *stage) push(n int, size int64) *simnet.Content {
	st.used++
	image := simnet.Image{Repo: fmt.Sprintf("bench/cold-%d", st.used), Tags: []string{"1"}}
	for i := range n {
		image.Layers = append(image.Layers, simnet.BigLayer(size, uint64(st.used)<<32+uint64(i)))
	}
	return st.hub.Push(image)
}

// blob is the path of a layer of the warm image.
func (st *stage) blob(i int) string {
	l, _ := st.warm.Layer(i)
	return st.warm.BlobPath(l.Digest)
}

// warmServers are the servers and the bare one.
func (st *stage) warmServers() []*server {
	return append(st.servers[:len(st.servers):len(st.servers)], st.bare)
}

// sides makes a side of each server.
func sides(servers []*server, turn func(round int, s *server) error) []side {
	var all []side
	for _, s := range servers {
		all = append(all, side{s.name, func(round int) error { return turn(round, s) }})
	}
	return all
}

// leave ends a stage, if there is one.
func (b *bench) leave(at **stage) {
	st := *at
	if st == nil {
		return
	}
	*at = nil
	for _, s := range st.servers {
		s.stop()
	}
	if st.bare != nil {
		st.bare.stop()
	}
	st.net.Close()
}

// sameCipher makes sure that no side is measured with a cheaper or dearer cipher
// than the others. Servers may have ideas of their own.
func (s *server) sameCipher(ctx context.Context) error {
	if s.target.tls == nil {
		return nil
	}
	conn, err := s.target.dial(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer conn.Close()
	if suite := conn.(*tls.Conn).ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		return fmt.Errorf("%s speaks %s and not AES-128-GCM as the others", s.name, tls.CipherSuiteName(suite))
	}
	return nil
}
