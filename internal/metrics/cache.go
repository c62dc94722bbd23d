package metrics

import (
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cache"
)

var (
	cacheRequests  = counter("cache_requests_total", "Answers by what the cache had to do with them, and requests that failed.", "kind", "result")
	cacheSize      = gauge("cache_size_bytes", "Size of what is stored, unfinished blobs with it.")
	cacheLimit     = gauge("cache_limit_bytes", "Size that it may have.")
	cacheObjects   = gauge("cache_objects", "What is stored, by kind: manifest, blob, or partial for a blob that is unfinished.", "kind")
	cacheFree      = gauge("cache_filesystem_free_bytes", "What is free on the file system of the cache.")
	cacheEvictions = counter("cache_evictions_total", "What was evicted, for the limit or because the disk was full.", "reason")
	cacheVerify    = counter("cache_verify_failures_total", "Stored content that turned out not to be what its digest says.")
	cacheSaved     = counter("cache_saved_bytes_total", "Bytes sent to clients that no upstream had to send.")
	coalesced      = counter("coalesced_requests_total", "Answers from what was being fetched for another request.")
	staleServed    = counter("stale_served_total", "Answers that no upstream could confirm, by the code of the first one that failed.", "registry", "reason")
)

// cache sends the figures of the cache, if it has any.
func (out series) cache(c *cache.Snapshot, s *admin.Snapshot) {
	if c.Requests == nil {
		return // one that is wanted and cannot be used has no figures
	}
	for kind, results := range c.Requests {
		for result, n := range results {
			out.number(cacheRequests, float64(n), kind, result)
		}
	}
	out.number(cacheSize, float64(c.Bytes))
	out.number(cacheLimit, float64(c.Limit))
	out.number(cacheFree, float64(c.Free))
	out.number(cacheObjects, float64(c.Manifests), "manifest")
	out.number(cacheObjects, float64(c.Objects-c.Manifests), "blob")
	out.number(cacheObjects, float64(c.Partial), "partial")
	out.number(cacheEvictions, float64(c.Evictions-c.ForDisk), "limit")
	out.number(cacheEvictions, float64(c.ForDisk), "disk_full")
	out.number(cacheVerify, float64(c.VerifyFailures))
	out.number(cacheSaved, float64(c.SavedBytes))
	out.number(coalesced, float64(c.Coalesced))
	for _, one := range c.StaleBy {
		if s.Find(one.Registry) != nil { // and not what a reload has taken away
			out.number(staleServed, float64(one.N), one.Registry, string(one.Code))
		}
	}
}
