package traffic

import (
	"slices"
	"strings"

	"github.com/pullchain/pullchain"
)

// isIndex tells the documents whose links are manifests from those whose are contents.
func isIndex(mediaType string) bool {
	return strings.HasSuffix(mediaType, "image.index.v1+json") || strings.HasSuffix(mediaType, "manifest.list.v2+json")
}

// isConfig tells a manifest's config, which is no layer to people.
func isConfig(mediaType string) bool {
	return strings.Contains(mediaType, ".config.") || strings.Contains(mediaType, ".container.image.")
}

// learnLocked takes from a manifest that was sent what the pull will consist of.
func (j *Journal) learnLocked(p *pull, req *pullchain.Request, resp *pullchain.Response) {
	digest := string(resp.Digest)
	if digest == "" || p.manifests[digest] {
		return
	}
	if p.shown.Digest != digest {
		p.shown.Digest = strings.Clone(digest)
	}
	if req.Head || len(resp.Links) == 0 {
		return
	}
	if isIndex(resp.MediaType) {
		p.learnPlatforms(resp.Links)
		return
	}
	if len(p.manifests) >= pullContents {
		return
	}
	if p.manifests == nil {
		p.manifests = map[string]bool{}
	}
	p.manifests[p.shown.Digest] = true
	p.runsOn(p.platforms[digest])
	for _, link := range resp.Links {
		c := j.contentLocked(p, string(link.Digest))
		if c == nil || c.size >= 0 {
			continue
		}
		c.size, c.layer = link.Size, !isConfig(link.MediaType)
		p.shown.Total += link.Size
		if c.layer {
			p.shown.LayersTotal++
		}
		p.missing++
		c.done = false
		p.check(c, false)
	}
}

// learnPlatforms remembers which platforms the manifests of an index are for.
func (p *pull) learnPlatforms(links []pullchain.Descriptor) {
	if p.platforms != nil {
		return // one is what is asked by the tag; an index in an index is rare
	}
	p.platforms = make(map[string]string, min(len(links), pullContents))
	for _, link := range links[:min(len(links), pullContents)] {
		p.platforms[string(link.Digest)] = printable(link.Platform.String(), 60)
	}
}

// runsOn notes the platform of a manifest that the client chose.
func (p *pull) runsOn(platform string) {
	switch list := strings.Split(p.shown.Platform, ", "); {
	case platform == "" || slices.Contains(list, platform):
	case p.shown.Platform == "":
		p.shown.Platform = platform
	case len(list) < pullPlatforms:
		p.shown.Platform += ", " + platform
	}
}

// contentLocked returns what is known of a content of p; nil where there are too many.
func (j *Journal) contentLocked(p *pull, digest string) *content {
	c := p.contents[digest]
	if c == nil && len(p.contents) < pullContents && j.contents < allContents {
		if p.contents == nil {
			p.contents = map[string]*content{}
		}
		j.contents++
		c = &content{size: -1}
		p.contents[strings.Clone(digest)] = c
	}
	return c
}

// sentLocked takes note of an answer with a content or a part of it.
func (j *Journal) sentLocked(p *pull, f *Flight, o *Outcome, whole bool) {
	c := j.contentLocked(p, string(f.Request.Digest))
	if c == nil {
		return
	}
	c.sent += o.Bytes
	c.upstream, c.cache = o.Upstream, o.Cache
	p.check(c, whole && o.Range == "")
}

// check takes note of a content that has gone out whole: in one answer, or in parts that
// are together as long.
func (p *pull) check(c *content, whole bool) {
	if c.done || !whole && (c.size < 0 || c.sent < c.size) {
		return
	}
	c.done = true
	if c.size < 0 {
		return
	}
	p.missing--
	if c.layer {
		p.shown.LayersDone++
	}
}
