package admin

import (
	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/traffic"
)

// A Finding is one thing that went wrong in a pull: which upstream said it, and what a
// person can do about it.
type Finding struct {
	Registry string `json:"registry"`
	Upstream string `json:"upstream"` // empty: it was no upstream
	Code     string `json:"code"`     // the same word as in the client's error, the log and the metrics
	Said     string `json:"said"`     // as a sentence
	Next     string `json:"next"`     // the next step; empty if there is nothing to do
	Text     string `json:"text"`     // what the failure says of itself, the upstream's own words in it
	Times    int    `json:"times"`
}

// Findings returns what went wrong in requests, in the order in which it happened and
// in the language of m. What is in order, such as a mirror that lacks an image which
// another has, is none, unless the request failed.
func Findings(m *messages.Catalogue, requests []traffic.Request) []Finding {
	out := []Finding{}
	add := func(f Finding) {
		for i := range out {
			if o := &out[i]; o.Registry == f.Registry && o.Upstream == f.Upstream && o.Code == f.Code && (f.Code != "" || o.Said == f.Said) {
				o.Times++
				return
			}
		}
		f.Times = 1
		out = append(out, f)
	}
	for _, r := range requests {
		said := false
		for _, a := range r.Attempts {
			if a.Outcome == "ok" || a.Code == string(pullchain.CodeCanceled) || !a.Trouble && !r.Failed {
				continue
			}
			said = true
			add(Finding{
				Registry: r.Registry, Upstream: a.Upstream, Code: codeOf(a), Said: Said(m, a.Upstream, codeOf(a)),
				Next: NextStep(m, codeOf(a), r.Registry, a.Upstream), Text: a.Text,
			})
		}
		switch {
		case said:
		case r.Failed && r.Code != "":
			add(Finding{Registry: r.Registry, Code: r.Code, Said: Said(m, "pullchain", r.Code), Next: NextStep(m, r.Code, r.Registry, ""), Text: r.Error})
		case r.Failed:
			add(Finding{Registry: r.Registry, Said: m.Text("trace.refused", "error", r.Error), Next: m.Text("trace.refused_next")})
		case r.Cache == string(pullchain.CacheStale):
			add(Finding{Registry: r.Registry, Said: m.Text("trace.stale"), Next: m.Text("trace.stale_next", "registry", r.Registry)})
		}
	}
	return out
}

// codeOf is the code of an attempt: where a gate kept the lane from being asked, that of
// what closed it.
func codeOf(a traffic.Attempt) string {
	if a.Code == "" && a.Gate != "" {
		return string(pullchain.CodeGate)
	}
	if a.Code == "" {
		return a.Word
	}
	return a.Code
}

// Said is the sentence about an upstream, by the code of a failure: "docker-hub is 429
// (pull quota spent)".
func Said(m *messages.Catalogue, upstream, code string) string {
	key := "why." + code
	if !m.Has(key) {
		return upstream + m.Text("summary.subject_space") + m.Text("why.other", "code", code)
	}
	return upstream + m.Text("summary.subject_space") + m.Text(key)
}

// NextStep is what a person can do about a failure of that code, with a command where
// there is one. Every code of the root package has one; empty is for words that are none.
func NextStep(m *messages.Catalogue, code, registry, upstream string) string {
	key := "next." + code
	if !m.Has(key) {
		return ""
	}
	return m.Text(key, "registry", registry, "upstream", upstream, "target", registry+"/"+upstream)
}
