package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/terminal"
	"github.com/pullchain/pullchain/internal/warm"
)

// warmCmd is `cache warm`.
type warmCmd struct {
	Images    []string `arg:"" optional:"" name:"image" help:"${help_warm_images}"`
	File      []string `short:"f" sep:"none" placeholder:"FILE" help:"${help_warm_file}"`
	Platform  string   `placeholder:"OS/ARCH" help:"${help_warm_platform}"`
	Jobs      int      `short:"j" default:"4" help:"${help_warm_jobs}"`
	DryRun    bool     `help:"${help_warm_dry_run}"`
	Mirror    string   `placeholder:"URL" help:"${help_warm_mirror}"`
	Scheduled bool     `help:"${help_warm_scheduled}"`
}

// A warmReport is the answer of `cache warm -o json`.
type warmReport struct {
	Schema int           `json:"schema"`
	OK     bool          `json:"ok"` // all of it is there
	DryRun bool          `json:"dry_run"`
	Images []warm.Result `json:"images"` // those that were finished, in their order
}

// Run fetches images through the data plane, so that the cache has them. What it
// has already is not fetched: the same command goes on where one was stopped.
func (c *warmCmd) Run(ctx context.Context, a *app) error {
	if c.Scheduled {
		return c.runScheduled(ctx, a)
	}
	platforms, err := warm.ParsePlatforms(c.Platform)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--platform: %w", err)}
	}
	if c.Jobs < 1 || c.Jobs > warm.MaxJobs {
		return &exitError{exitUsage, fmt.Errorf("--jobs must be from 1 to %d", warm.MaxJobs)}
	}
	images, err := c.images(a)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	to, err := c.through(ctx, a, images)
	if err != nil {
		return err
	}
	board := c.newBoard(a, len(images))
	w := warm.Warming{Mirror: to.mirror, Platforms: platforms, Dry: c.DryRun, Board: board, Jobs: c.Jobs}
	stop := board.show()
	results := w.Run(ctx, images)
	stop()
	// Asked at the end: a disk that has filled up meanwhile shows only now.
	after, err := to.close(ctx)
	if err != nil && ctx.Err() == nil {
		return err
	}
	return c.tell(ctx, a, images, results, after)
}

// images returns what the command line names, each image once.
func (c *warmCmd) images(a *app) ([]warm.Image, error) {
	files := slices.Clone(c.File)
	var images []warm.Image
	var errs []error
	for _, arg := range c.Images {
		if looksLikeFile(arg) {
			files = append(files, arg)
			continue
		}
		img, err := warm.ParseImage(arg)
		if err != nil {
			errs = append(errs, err)
		}
		images = append(images, img)
	}
	for _, path := range files {
		some, notes, err := a.readImages(path)
		if err != nil {
			errs = append(errs, err)
		}
		for _, note := range notes {
			fmt.Fprintln(a.Stderr, a.messages.Text("warm.note", "text", note))
		}
		images = append(images, some...)
	}
	if len(errs) == 0 && len(images) == 0 {
		errs = append(errs, errors.New(a.messages.Text("warm.nothing")))
	}
	return warm.Unique(images), errors.Join(errs...)
}

// tell says what it came to in the end.
func (c *warmCmd) tell(ctx context.Context, a *app, images []warm.Image, results []warm.Result, after cache.Snapshot) error {
	r := warmReport{Schema: cacheSchema, OK: len(results) == len(images), DryRun: c.DryRun, Images: append([]warm.Result{}, results...)}
	var done, failed int
	var sum int64
	for _, one := range results {
		sum += one.Bytes
		if one.OK {
			done++
		} else {
			failed++
			r.OK = false
		}
	}
	trouble := ""
	if !c.DryRun {
		trouble = shortfall(a, sum, after)
		r.OK = r.OK && trouble == ""
	}
	if a.flags.Output == "json" {
		if err := a.json(r); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(a.Stderr, a.messages.Text("warm.stopped", "images", done, "all", len(images)))
		return ctx.Err()
	case failed > 0:
		return &exitError{exitFailed, errors.New(a.messages.Text("warm.incomplete", "images", done, "all", len(images)))}
	case trouble != "":
		return &exitError{exitFailed, errors.New(trouble)}
	}
	return nil
}

// shortfall says why a cache cannot have all that was put into it; nothing if it can.
func shortfall(a *app, sum int64, after cache.Snapshot) string {
	switch {
	case after.Trouble != "":
		return a.messages.Text("cache.trouble", "why", terminal.Printable(after.Trouble))
	case after.Limit > 0 && sum > after.Limit: // layers that images share count twice, so it may just fit
		return a.messages.Text("warm.too_much", "size", size(sum), "limit", size(after.Limit))
	}
	return ""
}

// A route is the data plane that images go through, for the time of a command.
type route struct {
	mirror *warm.Mirror
	cache  func(ctx context.Context) (cache.Snapshot, error) // nil if there is no daemon to ask
	end    func() error                                      // ends what was started for it; nil if nothing was
}

// close ends it and says how the cache stands.
func (p *route) close(ctx context.Context) (after cache.Snapshot, err error) {
	p.mirror.Close()
	if p.cache != nil && ctx.Err() == nil {
		after, err = p.cache(ctx)
	}
	if p.end != nil {
		err = errors.Join(err, p.end())
	}
	return after, err
}

// through returns the way to the cache: --mirror, else the daemon that answers on
// the operator's plane, else one in this process.
func (c *warmCmd) through(ctx context.Context, a *app, images []warm.Image) (*route, error) {
	if c.Mirror != "" {
		base := c.Mirror
		if !strings.Contains(base, "://") {
			base = "http://" + base
		}
		return &route{mirror: warm.NewMirror(base, &http.Transport{}, thisBuild().Version)}, nil
	}
	p, there, err := a.cacheDaemon(ctx)
	switch {
	case err != nil:
		return nil, err
	case there:
		return c.running(ctx, a, p)
	}
	return c.ownDaemon(a, images, p.base)
}
