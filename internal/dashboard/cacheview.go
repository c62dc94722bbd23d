package dashboard

import (
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cache"
)

// A cachePage is the page of what is kept.
type cachePage struct {
	Cache  *cacheModel
	Query  string
	Total  int // objects that match
	Size   string
	Lines  []objectLine
	Listed bool // there is a cache to list
	Warm   *warmModel
}

// An objectLine is one object of the cache.
type objectLine struct {
	Digest     string // cut to what people compare
	FullDigest string
	Kind       string
	Size       string
	Used       *moment
	Private    bool
	Pinned     bool
	Images     []string
	More       int // images that are not listed
	Actions    []action
}

// How much of the cache one page lists.
const (
	maxObjects = 100
	maxImages  = 3
)

// cacheView is the page of the cache: what it is worth, and what is in it.
func cacheView(d *dashboard, v *visit) (string, any) {
	v.Title = v.messages.Text("dash.cache")
	m := cachePage{Cache: v.cache(), Query: v.query.Get("q"), Warm: d.warmth(v)}
	if d.Cache == nil || v.foreign { // a page of another site may not have the store listed
		return "cache", &m
	}
	m.Listed = true
	list := d.Cache.List(v.ctx, m.Query)
	m.Total = len(list)
	var bytes int64
	for _, e := range list {
		bytes += e.Here
	}
	m.Size = admin.Amount(bytes)
	for _, e := range list[:min(len(list), maxObjects)] {
		line := v.object(e)
		if v.viewer.CanAct {
			pin := "cache_pin"
			if e.Pinned {
				pin = "cache_unpin"
			}
			line.Actions = []action{v.actOn(pin, e.Digest.String()), v.actOn("cache_evict", e.Digest.String())}
		}
		m.Lines = append(m.Lines, line)
	}
	return "cache", &m
}

func (v *visit) object(e cache.Entry) objectLine {
	line := objectLine{
		FullDigest: e.Digest.String(), Digest: shortDigest(e.Digest.String()), Kind: v.messages.Text("cache.kind." + e.Kind), Size: admin.Amount(e.Here),
		Used: v.at(e.Used), Private: !e.Public, Pinned: e.Pinned,
	}
	if e.Here < e.Size {
		line.Size = admin.Fraction(e.Here, e.Size)
	}
	for _, image := range e.Images[:min(len(e.Images), maxImages)] {
		line.Images = append(line.Images, shortImage(image))
	}
	line.More = len(e.Images) - len(line.Images)
	return line
}

// shortDigest cuts a digest to what people compare.
func shortDigest(d string) string {
	if len(d) > 19 {
		return d[7:19]
	}
	return d
}
