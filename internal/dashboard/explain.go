package dashboard

import (
	"errors"
	"net/http"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
)

// An explainModel is the page that says what would become of the pull of an image.
type explainModel struct {
	Image    string // as it was asked for
	Fault    string // why it cannot be explained
	Found    *admin.Explanation
	Served   bool
	Facts    []pair
	Lanes    []candidateLine
	Forms    []admin.ClientForm
	Cache    string
	Compare  bool // a tag may mean different things to them
	Digests  []digestLine
	Agree    string // what the digests say together
	Disagree bool
}

// A candidateLine is an upstream as the image's request would meet it.
type candidateLine struct {
	Turn  string
	Chip  chip
	Via   string
	Trust string
	Why   string // it would not be asked
	Until *moment
}

// A digestLine is what one upstream means by the tag.
type digestLine struct {
	Upstream, Digest, FullDigest, Why, Text, Took string
}

// explainView is the page of one image.
func explainView(d *dashboard, v *visit) (string, any) {
	if d.Explainer == nil {
		return notFound(d, v)
	}
	v.Title, v.still = v.messages.Text("dash.nav_explain"), true
	m := explainModel{Image: v.query.Get("image")}
	if m.Image == "" || v.foreign { // a page of another site may not have the cache read through
		return "explain", &m
	}
	e, err := d.Explainer.Explain(v.ctx, m.Image)
	if err != nil {
		v.status = http.StatusBadRequest
		m.Fault = v.messages.Text("dash.explain_fault", "image", m.Image)
		return "explain", &m
	}
	v.Title = e.Name
	m.Found, m.Served, m.Forms = &e, e.Served, e.Forms
	d.explain(v, &m, &e)
	if v.query.Get("digests") != "" && !v.foreign {
		m.compare(d, v)
	}
	return "explain", &m
}

func (d *dashboard) explain(v *visit, m *explainModel, e *admin.Explanation) {
	text := v.messages.Text
	m.Facts = []pair{{Name: text("dash.full_name"), Value: e.Name}, {Name: text("dash.col_registry"), Value: e.Registry}}
	if e.Alias != "" {
		m.Facts = append(m.Facts, pair{Name: text("dash.alias"), Value: e.Alias})
	}
	if h := e.Cache; h != nil {
		key := "dash.cache_nothing"
		switch {
		case h.Manifest && h.Fresh:
			key = "dash.cache_fresh"
		case h.Manifest:
			key = "dash.cache_asks"
		}
		m.Facts = append(m.Facts, pair{Name: text("dash.cache"), Value: text(key, "objects", h.Objects, "size", admin.Amount(h.Bytes)), At: v.atOf(h.Confirmed)})
	}
	r := v.Snapshot.Find(e.Registry)
	for _, c := range e.Candidates {
		line := candidateLine{Via: c.Via, Trust: text("dash.trusted." + c.Trust), Until: v.atOf(c.Until)}
		if r != nil {
			for i := range r.Lanes {
				if r.Lanes[i].Upstream == c.Upstream {
					line.Chip = v.chip(r, &r.Lanes[i], c.Turn == 1)
				}
			}
		}
		if c.Turn > 0 {
			line.Turn = count(c.Turn)
			if c.Code == pullchain.CodeQuotaLow {
				line.Why = text("explain.quota_low")
			}
		} else {
			line.Why = v.gateWord(c.Gate)
			if c.Code != "" {
				line.Why += v.messages.Text("summary.comma") + v.why(string(c.Code))
			}
		}
		m.Lanes = append(m.Lanes, line)
	}
	m.Compare = e.Tag != "" && e.Digest == "" && e.Served
}

// compare asks all upstreams what the tag means.
func (m *explainModel) compare(d *dashboard, v *visit) {
	digests, err := d.Explainer.Digests(v.ctx, m.Image)
	var soon *admin.TooSoonError
	switch {
	case errors.As(err, &soon):
		m.Agree, m.Disagree = v.messages.Text("dash.too_soon", "wait", admin.Wait(v.messages, soon.Wait)), true
		return
	case err != nil:
		m.Agree, m.Disagree = err.Error(), true
		return
	}
	first, same, known := "", true, 0
	for _, one := range digests {
		line := digestLine{Upstream: one.Upstream, FullDigest: one.Digest.String(), Digest: shortDigest(one.Digest.String()), Text: one.Error, Took: millis(float64(one.MS))}
		if one.Code != "" {
			line.Why = v.why(string(one.Code))
		}
		if line.FullDigest != "" {
			if known++; first == "" {
				first = line.FullDigest
			}
			same = same && first == line.FullDigest
		}
		m.Digests = append(m.Digests, line)
	}
	switch {
	case !same:
		m.Agree, m.Disagree = v.messages.Text("dash.disagree"), true
	case known > 1:
		m.Agree = v.messages.Text("dash.agree", "n", known)
	}
}
