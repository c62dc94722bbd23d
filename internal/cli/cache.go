package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/terminal"
)

// cacheCmd groups what there is to do with the cache. Each works on a running
// daemon's cache, or without one on the directory itself.
type cacheCmd struct {
	Stat   cacheStatCmd   `cmd:"" help:"${help_cache_stat}"`
	Ls     cacheLsCmd     `cmd:"" help:"${help_cache_ls}"`
	Warm   warmCmd        `cmd:"" help:"${help_cache_warm}"`
	Pin    cachePinCmd    `cmd:"" help:"${help_cache_pin}"`
	Unpin  cacheUnpinCmd  `cmd:"" help:"${help_cache_unpin}"`
	Evict  cacheEvictCmd  `cmd:"" help:"${help_cache_evict}"`
	Verify cacheVerifyCmd `cmd:"" help:"${help_cache_verify}"`
	GC     cacheGCCmd     `cmd:"" name:"gc" help:"${help_cache_gc}"`
}

// cacheSchema is the version of the JSON of these commands.
const cacheSchema = 1

// cacheStatCmd is `cache stat`.
type cacheStatCmd struct{}

// Run prints how the cache stands.
func (cacheStatCmd) Run(ctx context.Context, a *app) error {
	return a.withCache(ctx, func(s cacheClient) error {
		snapshot, err := s.stat(ctx)
		if err != nil {
			return err
		}
		if a.flags.Output == "json" {
			return a.json(struct {
				Schema int `json:"schema"`
				cache.Snapshot
			}{cacheSchema, snapshot})
		}
		a.writeStat(snapshot, s.where())
		return nil
	})
}

// cacheLsCmd is `cache ls`.
type cacheLsCmd struct {
	Query string `arg:"" optional:"" help:"${help_cache_query}"`
	Limit int    `short:"n" placeholder:"N" help:"${help_cache_limit}"`
}

// Run prints what the cache has, the last used first.
func (c *cacheLsCmd) Run(ctx context.Context, a *app) error {
	if c.Limit < 0 {
		return &exitError{exitUsage, errors.New("--limit must not be negative")}
	}
	return a.withCache(ctx, func(s cacheClient) error {
		entries, total, err := s.list(ctx, c.Query, c.Limit)
		if err != nil {
			return err
		}
		if a.flags.Output == "json" {
			return a.json(struct {
				Schema  int           `json:"schema"`
				Total   int           `json:"total"` // how many match
				Objects []cache.Entry `json:"objects"`
			}{cacheSchema, total, append([]cache.Entry{}, entries...)})
		}
		a.writeEntries(entries, total)
		return nil
	})
}

// cachePinCmd is `cache pin`.
type cachePinCmd struct {
	What []string `arg:"" help:"${help_cache_what}"`
}

// Run keeps content from being evicted.
func (c *cachePinCmd) Run(ctx context.Context, a *app) error {
	return a.change(ctx, c.What, "cache.pinned", func(s cacheClient, what string) (cache.Change, error) { return s.pin(ctx, what, true) })
}

// cacheUnpinCmd is `cache unpin`.
type cacheUnpinCmd struct {
	What []string `arg:"" help:"${help_cache_what}"`
}

// Run lets content be evicted again.
func (c *cacheUnpinCmd) Run(ctx context.Context, a *app) error {
	return a.change(ctx, c.What, "cache.unpinned", func(s cacheClient, what string) (cache.Change, error) { return s.pin(ctx, what, false) })
}

// cacheEvictCmd is `cache evict`.
type cacheEvictCmd struct {
	What []string `arg:"" help:"${help_cache_what}"`
}

// Run removes content.
func (c *cacheEvictCmd) Run(ctx context.Context, a *app) error {
	return a.change(ctx, c.What, "cache.evicted", func(s cacheClient, what string) (cache.Change, error) { return s.evict(ctx, what) })
}

// A changed is how it went with one name. It is JSON for -o json.
type changed struct {
	What string `json:"what"`
	cache.Change
	Error string `json:"error"`
}

// change does something to each of what, and says how it went. One that cannot be
// done does not keep the others from it.
func (a *app) change(ctx context.Context, whats []string, key string, do func(s cacheClient, what string) (cache.Change, error)) error {
	return a.withCache(ctx, func(s cacheClient) error {
		out := []changed{}
		var errs []error
		for _, what := range whats {
			name, err := fullName(ctx, s, what)
			one := changed{What: name}
			if err == nil {
				one.Change, err = do(s, name)
			}
			// In words of the catalogue: the store's own say nothing of the name
			// that was typed.
			switch {
			case errors.Is(err, blobstore.ErrNotFound):
				err = errors.New(a.messages.Text("cache.not_there", "what", name))
			case errors.Is(err, blobstore.ErrInUse):
				err = errors.New(a.messages.Text("cache.in_use", "what", name))
			}
			if err != nil {
				one.Error = err.Error()
				errs = append(errs, err)
			} else if a.flags.Output != "json" {
				a.say(key, "what", name, "objects", one.Objects, "size", size(one.Bytes))
			}
			out = append(out, one)
		}
		if a.flags.Output != "json" {
			return errors.Join(errs...)
		}
		if err := a.json(struct {
			Schema  int       `json:"schema"`
			Changes []changed `json:"changes"`
		}{cacheSchema, out}); err != nil || len(errs) == 0 {
			return err
		}
		return &exitError{code: exitFailed}
	})
}

// beginning matches the beginning of a digest, as `cache ls` prints it.
var beginning = regexp.MustCompile(`^[0-9a-f]{12,63}$`)

// fullName returns the name that the cache knows something by: a digest, also by
// its beginning, or an image in full, "alpine" as docker.io/library/alpine. A name
// without a tag is all of the repository.
func fullName(ctx context.Context, s cacheClient, what string) (string, error) {
	// Twelve digits at least: less could be a repository's name, as "cafe" is.
	if beginning.MatchString(what) {
		entries, _, err := s.list(ctx, ":"+what, 0) // which finds tags that begin so, too
		if err != nil {
			return what, err
		}
		entries = slices.DeleteFunc(entries, func(e cache.Entry) bool { return !strings.Contains(e.Digest.String(), ":"+what) })
		switch {
		case len(entries) == 1:
			return entries[0].Digest.String(), nil
		case len(entries) > 1:
			return what, fmt.Errorf("%s: several digests begin so", what)
		}
	}
	named, err := reference.ParseAnyReference(what)
	if err != nil {
		return what, fmt.Errorf("%q is neither an image nor a digest: %w", what, err)
	}
	return named.String(), nil
}

// cacheGCCmd is `cache gc`.
type cacheGCCmd struct{}

// Run removes what is of no use any more.
func (cacheGCCmd) Run(ctx context.Context, a *app) error {
	return a.withCache(ctx, func(s cacheClient) error {
		freed, err := s.gc(ctx)
		if err != nil {
			return err
		}
		if a.flags.Output == "json" {
			return a.json(struct {
				Schema int   `json:"schema"`
				Freed  int64 `json:"freed_bytes"`
			}{cacheSchema, freed})
		}
		a.say("cache.gc", "size", size(freed))
		return nil
	})
}

// cacheVerifyCmd is `cache verify`.
type cacheVerifyCmd struct{}

// A verified is what a verification has found so far. It is JSON for -o json.
type verified struct {
	Schema  int       `json:"schema"`
	Objects int       `json:"objects"` // that were looked at
	Bytes   int64     `json:"bytes"`   // in them
	Wrong   []finding `json:"wrong"`   // and quarantined
}

// A finding is one object that is not what its name says.
type finding struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Error  string `json:"error"`
}

// Run hashes everything, and fails when something is wrong.
func (cacheVerifyCmd) Run(ctx context.Context, a *app) error {
	return a.withCache(ctx, func(s cacheClient) error {
		now, err := s.stat(ctx)
		if err != nil {
			return err
		}
		live := a.flags.Output != "json" && isTerminal(a.Stdout)
		shown := 0
		v, err := s.verify(ctx, func(v verified) {
			if a.flags.Output == "json" {
				return
			}
			var lines strings.Builder
			for ; shown < len(v.Wrong); shown++ {
				lines.WriteString(a.paint(terminal.Red, a.messages.Text("cache.wrong", "digest", v.Wrong[shown].Digest, "size", size(v.Wrong[shown].Size), "error", v.Wrong[shown].Error)) + "\n")
			}
			if live {
				fmt.Fprint(a.Stdout, "\r\x1b[K"+lines.String()+a.messages.Text("cache.verifying", "objects", v.Objects, "all", now.Objects, "size", size(v.Bytes)))
			} else {
				fmt.Fprint(a.Stdout, lines.String())
			}
		})
		if live {
			fmt.Fprint(a.Stdout, "\r\x1b[K")
		}
		v.Schema, v.Wrong = cacheSchema, append([]finding{}, v.Wrong...)
		if a.flags.Output == "json" {
			err = cmp.Or(err, a.json(v))
		} else if err == nil {
			a.say("cache.verified", "objects", v.Objects, "size", size(v.Bytes), "wrong", len(v.Wrong))
		}
		if err == nil && len(v.Wrong) > 0 {
			err = &exitError{code: exitWrong}
		}
		return err
	})
}
