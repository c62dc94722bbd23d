package front

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
)

// setTrace tells clients, proxies and people how the answer came about, in the
// standard headers.
func (a answer) setTrace() {
	trouble, server := degraded(a.resp.Attempts), a.server(a.resp.Attempts)
	a.rec.setHeader("Cache-Status", cacheStatus(&a.resp, server))
	if server == "" && a.resp.Age > 0 {
		// No upstream was asked, or none could say (RFC 9111 5.1). A digest has no
		// age: then the cache gives none.
		a.rec.setHeader("Age", strconv.FormatInt(seconds(a.resp.Age), 10))
	}
	switch {
	case server != "":
		status := "pullchain; next-hop=" + sfString(server)
		if trouble != "" {
			status += "; details=" + sfString(trouble)
		}
		a.rec.setHeader("Proxy-Status", status)
	case trouble != "":
		// RFC 9209 2.1.1: an error does not mean that there is no answer, a proxy
		// may have had one in store.
		a.rec.setHeader("Proxy-Status", proxyError(http.StatusServiceUnavailable, a.resp.Attempts))
	}
	// containerd and podman show it to the user of a pull (distribution-spec,
	// "Warnings"). On manifests only: once for each image, not for each layer; and on a list
	// that may have changed since.
	text := warning(&a.resp, trouble, server)
	if a.twice {
		text = strings.TrimSuffix(twiceAdvice+"; "+text, "; ")
	}
	listed := a.req.Op != pullchain.Manifest && a.req.Op != pullchain.Blob
	if text != "" && (a.req.Op == pullchain.Manifest || listed && a.resp.Cache == pullchain.CacheStale) {
		a.rec.setHeader("Warning", "299 - "+sfString(text))
	}
}

// server returns the upstream whose word the answer is, or "". Behind a stale one
// there is none, though a try may have got as far as an answer.
func (x *exchange) server(trace []pullchain.Attempt) string {
	if x.resp.Cache == pullchain.CacheStale {
		return ""
	}
	return pullchain.ServedBy(trace)
}

// warning says what a person should know of an answer that is not as good as it
// could be; "" if there is nothing to say.
func warning(resp *pullchain.Response, trouble, server string) string {
	const room = maxWarning - len(`299 - ""`)
	if resp.Cache == pullchain.CacheStale {
		text := "served from the cache, last confirmed " + ago(resp.Age)
		if trouble != "" {
			text += ": " + trouble
		}
		return clip(text, room)
	}
	if trouble == "" {
		return ""
	}
	if server == "" {
		return clip(trouble, room)
	}
	return clip(trouble, room-len(", served by ")-len(server)) + ", served by " + server
}

// cacheStatus writes Cache-Status (RFC 9211). server is the upstream that answered,
// if one was asked. Without a cache, every answer for which one was went past it.
func cacheStatus(resp *pullchain.Response, server string) string {
	switch resp.Cache {
	case pullchain.CacheHit:
		if server != "" { // which said that it is still right: no hit, by 2.1
			return "pullchain; fwd=stale; stored"
		}
		return "pullchain; hit"
	case pullchain.CacheStale: // a negative ttl is staleness (2.4); we know the age, and not the time it had
		return "pullchain; hit; ttl=-" + strconv.FormatInt(max(1, seconds(resp.Age)), 10)
	case pullchain.CacheMiss:
		return "pullchain; fwd=miss; stored"
	case pullchain.CacheCoalesced:
		return "pullchain; fwd=miss; collapsed"
	}
	// No cache is configured and no upstream was asked, yet there is an answer: a
	// link of the chain had it.
	if resp.Cache == "" && len(resp.Attempts) == 0 {
		return "pullchain; hit"
	}
	return "pullchain; fwd=bypass"
}

// seconds is an age as headers and the log have it: whole, and not rounded up.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// ago writes an age as a person would: "40 s ago", "12 min ago", "3 h ago",
// "2 days ago".
func ago(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/day)
}
