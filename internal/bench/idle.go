//go:build linux

package main

import (
	"os"

	"github.com/pullchain/pullchain/internal/simnet"
)

// startAndIdle is the time from the start of a program to its first answer, and
// the memory that it has when no request comes.
func (b *bench) startAndIdle() ([]row, error) {
	net := simnet.New(simnet.Config{})
	defer net.Close()
	hub := net.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Open: true, Images: []simnet.Image{{Repo: "bench/idle", Tags: []string{"1"}}}})
	ca, err := b.writeCA(net)
	if err != nil {
		return nil, err
	}
	up := setup{upstreams: []upstream{{"hub", hub.URL()}}, ca: ca}
	c := newContest(nil)
	var sides []side
	for _, name := range []string{pullchain, nginx, distribution} {
		sides = append(sides, side{name, func(round int) error { return b.startOnce(c, name, up, round == 0) }})
	}
	err = b.takeTurns(c, b.opts.rounds, sides)
	rows := c.rows("start to first answer", "", "ms", peers, goals{nginx: ownAtMost(200)})
	return append(rows, c.rows("idle memory", "RSS", "MiB", peers, goals{nginx: ownAtMost(30)})...), err
}

// startOnce starts a server and takes its time. Memory is read in one round only:
// it takes seconds until a program that has just started is at rest.
func (b *bench) startOnce(c *contest, name string, up setup, idle bool) error {
	s, err := b.startServer(b.ctx, name, up)
	if err != nil {
		return err
	}
	defer s.stop()
	c.add("", name, inMS(s.start))
	if !idle {
		return nil
	}
	if err := wait(b.ctx, b.sizes.idle); err != nil {
		return err
	}
	n, err := treeMemory(s.proc.pid(), "VmRSS")
	c.add("RSS", name, float64(n)/mib)
	return err
}

// binary is the size of the programs as they are installed.
func (b *bench) binary() ([]row, error) {
	ours, err := b.build()
	if err != nil {
		return nil, err
	}
	c := newContest(nil)
	paths := map[string]string{pullchain: ours}
	for _, peer := range peers {
		if paths[peer], err = find(peer); err != nil {
			c.missing[peer] = err.Error()
			delete(paths, peer)
		}
	}
	for name, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		c.add("size", name, float64(info.Size())/mib)
	}
	rows := c.rows("binary", "size", "MiB", peers, goals{nginx: ownAtMost(25)})
	if b.opts.profile != "" {
		rows[0].note = "with symbols, for perf"
	}
	return rows, nil
}
