package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/wire"
)

// errNoCache is in the answer of a daemon that has no cache, which says why.
var errNoCache = errors.New("there is no cache")

// cacheSnapshot asks how the daemon's cache stands.
func (c *adminClient) cacheSnapshot(ctx context.Context) (s cache.Snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	err = c.get(ctx, "/api/v1/cache", &s)
	return s, cacheError(err)
}

// cacheError makes what the daemon says of its cache the errors that a cache in
// this process would give.
func cacheError(err error) error {
	said, ok := errors.AsType[*apiError](err)
	switch {
	case !ok:
		return err
	case said.Code == "cache_off":
		return fmt.Errorf("%w: %w", errNoCache, said)
	case said.Code == "not_cached":
		return fmt.Errorf("%w: %w", said, blobstore.ErrNotFound)
	case said.Code == "in_use":
		return fmt.Errorf("%w: %w", said, blobstore.ErrInUse)
	case said.Status == http.StatusNotFound || said.Status == http.StatusMethodNotAllowed: // no such page
		return fmt.Errorf("%w (%w)", errNotOurs, said)
	}
	return said
}

// A daemonCache is the cache of a running daemon.
type daemonCache struct {
	admin *adminClient
	app   *app
}

func (s *daemonCache) where() string {
	return s.app.messages.Text("cache.in_daemon", "address", s.admin.base)
}

func (s *daemonCache) close() error { return nil }

func (s *daemonCache) stat(ctx context.Context) (cache.Snapshot, error) {
	return s.admin.cacheSnapshot(ctx)
}

// manyObjects is the most that a daemon lists at once.
const manyObjects = 10_000

// list asks for one page. The total in the answer says what a longer list would
// have had.
func (s *daemonCache) list(ctx context.Context, query string, limit int) ([]cache.Entry, int, error) {
	if limit == 0 {
		limit = manyObjects
	}
	values := url.Values{"q": {query}, "limit": {strconv.Itoa(min(limit, manyObjects))}}
	var answer admin.CacheObjects
	err := s.admin.get(ctx, "/api/v1/cache/objects?"+values.Encode(), &answer)
	return answer.Objects, answer.Total, cacheError(err)
}

func (s *daemonCache) evict(ctx context.Context, what string) (change cache.Change, err error) {
	err = s.admin.post(ctx, "/api/v1/cache:evict", admin.CacheRequest{What: what}, &change)
	return change, cacheError(err)
}

func (s *daemonCache) pin(ctx context.Context, what string, pinned bool) (change cache.Change, err error) {
	err = s.admin.post(ctx, "/api/v1/cache:pin", admin.CacheRequest{What: what, Pinned: &pinned}, &change)
	return change, cacheError(err)
}

func (s *daemonCache) gc(ctx context.Context) (int64, error) {
	var freed admin.CacheFreed
	err := s.admin.post(ctx, "/api/v1/cache:gc", admin.CacheRequest{}, &freed)
	return freed.Bytes, cacheError(err)
}

// verify reads the daemon's lines as they come; hashing a large cache takes hours.
// Only a line that says "done" ends it well: a connection that is cut must not look
// like a cache in which nothing is wrong.
func (s *daemonCache) verify(ctx context.Context, report func(verified)) (v verified, err error) {
	body, err := s.admin.open(ctx, http.MethodPost, "/api/v1/cache:verify", admin.CacheRequest{})
	if err != nil {
		return v, cacheError(err)
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		var line admin.CacheVerified
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return v, fmt.Errorf("%w (%v)", errNotOurs, err)
		}
		v.Objects, v.Bytes = line.Objects, line.Bytes
		switch {
		// What the daemon says is quoted before it is shown: it may repeat what an
		// upstream wrote.
		case line.Digest != "":
			v.Wrong = append(v.Wrong, finding{wire.Clip(line.Digest.String()), line.Size, wire.Clip(line.Error)})
		case line.Error != "":
			return v, errors.New(wire.Clip(line.Error))
		}
		report(v)
		if line.Done {
			return v, nil
		}
	}
	return v, cmp.Or(ctx.Err(), lines.Err(), io.ErrUnexpectedEOF)
}
