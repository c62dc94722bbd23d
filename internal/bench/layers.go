//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

const (
	layerCount   = 64
	layerWorkers = 8 // layers that a client pulls at once
	layersAway   = 60 * time.Millisecond
)

// manyLayers is a pull of an image of 64 small layers, with everything a round
// trip of 60 ms away, of a registry that wants tokens: by a client that asks it
// itself, and through each server. The servers have run for a second.
func (b *bench) manyLayers() ([]row, error) {
	c := newContest(nil)
	for round := range min(b.opts.rounds, 3) {
		if err := b.distantImage(c, round); err != nil {
			return nil, err
		}
	}
	rows := c.rows("64 layers, 60 ms away, cold", "time", "ms", everyone, goals{direct: ratioAtMost(1)})
	rows[0].note = fmt.Sprintf("%d layers at once, connections of the client are new", layerWorkers)
	return rows, nil
}

// distantImage pulls the image once by each side, in a world of its own: a second
// round in the same one would not be cold. The servers have a second to warm their
// connections, as a daemon that runs has.
func (b *bench) distantImage(c *contest, round int) error {
	image := simnet.Image{Repo: "bench/layers", Tags: []string{"1"}}
	for i := range layerCount {
		image.Layers = append(image.Layers, simnet.BigLayer(8*kib, uint64(i)))
	}
	net := simnet.New(simnet.Config{})
	defer net.Close()
	hub := net.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{image}})
	for _, s := range []*simnet.Server{hub.Server, hub.Auth.Server, hub.CDN.Server} {
		s.SetRTT(layersAway)
	}
	st := &stage{net: net, hub: hub, absent: map[string]string{}, warm: net.Build(image)}
	defer func() {
		for _, s := range st.servers {
			s.stop()
		}
	}()
	var err error
	if st.ca, err = b.writeCA(net); err != nil {
		return err
	}
	if err := b.startAll(st, setup{upstreams: []upstream{{"hub", hub.URL()}}, ca: st.ca}); err != nil {
		return err
	}
	if err := wait(b.ctx, time.Second); err != nil {
		return err
	}
	for name, why := range st.absent {
		c.missing[name] = why
	}
	all := sides(st.servers, func(_ int, s *server) error {
		// nginx knows nothing of tokens: its clients bring their own.
		return c.timed(s.name, func() error { return st.pullImage(b.ctx, s.http, s.target.url(), s.name == nginx) })
	})
	all = append(all, side{direct, func(int) error {
		return c.timed(direct, func() error { return st.pullImage(b.ctx, st.directClient(), hub.URL(), true) })
	}})
	// takeTurns begins with the first side in a single round, so the turns are made
	// here.
	first := round % len(all)
	return b.takeTurns(c, 1, append(all[first:len(all):len(all)], all[:first]...))
}

// timed does f and adds the time as a sample, if it did not fail.
func (c *contest) timed(name string, f func() error) error {
	began := time.Now()
	if err := f(); err != nil {
		return err
	}
	c.add("time", name, inMS(time.Since(began)))
	return nil
}

// pullImage pulls the manifest and then the blobs, several at once. The token,
// if the client needs one, is part of the time.
func (st *stage) pullImage(ctx context.Context, client *http.Client, base string, tokens bool) error {
	defer client.CloseIdleConnections()
	token := ""
	if tokens {
		auth := newClient(&tls.Config{RootCAs: st.net.CertPool()})
		defer auth.CloseIdleConnections()
		var err error
		if token, err = login(ctx, auth, st.hub.Auth.Realm(), "hub", st.warm.Repo); err != nil {
			return err
		}
	}
	if _, err := get(ctx, client, base+st.warm.Path(), token, false); err != nil {
		return err
	}
	layers := st.warm.LayerList[0]
	errs := make([]error, len(layers))
	next := make(chan int)
	var workers sync.WaitGroup
	for range layerWorkers {
		workers.Go(func() {
			for i := range next {
				_, errs[i] = get(ctx, client, base+st.warm.BlobPath(layers[i].Digest), token, false)
			}
		})
	}
	for i := range layers {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(errs...)
}
