package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/terminal"
)

// served writes a line for each registry that has served anything lately: the state of
// a lane says what it could do, and this what it did.
func (t *table) served() {
	for i := range t.Registries {
		r := &t.Registries[i]
		var classes []string
		for _, class := range []string{pullchain.ClassManifest.String(), pullchain.ClassBlob.String()} {
			if by := t.servedBy(r, class); by != "" {
				classes = append(classes, t.messages.Text("served."+class, "list", by)+t.spared(r, class))
			}
		}
		if len(classes) > 0 {
			t.line(terminal.Printable(t.messages.Text("served.line", "registry", r.Registry, "minutes", r.Served[0].Minutes,
				"classes", strings.Join(classes, t.messages.Text("served.and")))))
		}
	}
}

// servedBy lists the upstreams that have served a class, with how much.
func (t *table) servedBy(r *Registry, class string) string {
	var by []string
	for _, s := range r.Served {
		if s.Class != class {
			continue
		}
		name := s.Upstream
		if name == "" {
			name = t.messages.Text("served.cache")
		}
		by = append(by, fmt.Sprintf("%s %d", name, s.Requests))
	}
	return strings.Join(by, t.messages.Text("summary.comma"))
}

// spared says whose quota is the reason why others have served manifests, the only
// class that quotas count: one that is low, with something left to spare.
func (t *table) spared(r *Registry, class string) string {
	if class != pullchain.ClassManifest.String() {
		return ""
	}
	for _, l := range r.Lanes {
		// A reading is believed for as long as the counts look back (balancer, quotaFresh).
		q := l.Quota
		if q == nil || q.Remaining == 0 || t.Now.Sub(q.At) >= time.Duration(r.Served[0].Minutes)*time.Minute || !(&pullchain.Quota{Limit: q.Limit, Remaining: q.Remaining}).Low() {
			continue
		}
		for _, s := range r.Served {
			if s.Class == class && s.Upstream != "" {
				if s.Upstream == l.Upstream { // which serves the most all the same
					break
				}
				return t.messages.Text("served.spared", "upstream", l.Upstream)
			}
		}
	}
	return ""
}
