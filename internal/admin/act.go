package admin

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/messages"
)

// actRoutes are where the forms of pages go.
var actRoutes = []route{{
	method: http.MethodPost, path: "/act/{kind}", serve: actByForm, form: true,
	doc: doc{
		id: "act", about: "Does what a form of a page asks for, and leads back to the page, which tells what became of it.", body: actForm{},
		media: "text/html", problems: []string{"bad_request", "cross_origin", "csrf"},
	},
}}

// warmKind is the form that has what is fetched by a schedule fetched now.
const warmKind = "warm"

// An actForm is what a browser sends to have something done. Its fields are those of
// OperateRequest, and those that say what it is about.
type actForm struct {
	CSRF     string   `json:"csrf"`
	Back     string   `json:"back"` // the path of the page
	Registry string   `json:"registry,omitempty"`
	Upstream string   `json:"upstream,omitempty"`
	Order    []string `json:"order,omitempty"` // of reorder: the upstreams in their order; none is the configured one
	What     string   `json:"what,omitempty"`  // of cache_pin, cache_unpin and cache_evict
	TTLS     string   `json:"ttl_s,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Confirm  string   `json:"confirm,omitempty"` // the registry's name, if it may be left without any upstream
}

// actByForm does what a form asks for. A form has no way to be told more than by the
// next page, so what became of it goes there in a cookie.
func actByForm(h *handler, w http.ResponseWriter, r *http.Request) {
	if !h.ourForm(w, r) {
		return
	}
	text, err := actFor(h, r, languageOf(r))
	if no, ok := errors.AsType[*Refusal](err); ok && h.Pages != nil && (no.Code == codeLeavesNone || no.Code == codeNotConfirmed) {
		if no.Code == codeNotConfirmed {
			setFlash(w, r, Flash{Text: refusalText(languageOf(r), err)})
		}
		http.Redirect(w, r, confirmAt(r), http.StatusSeeOther)
		return
	}
	f := Flash{OK: err == nil, Text: text}
	if err != nil {
		f.Text = refusalText(languageOf(r), err)
	}
	setFlash(w, r, f)
	http.Redirect(w, r, localPath(r.PostForm.Get("back")), http.StatusSeeOther)
}

// ConfirmPath is the page that asks for a registry's name before the last upstream of it
// is taken out. What the form asked for is in its query, by the names of the form.
const ConfirmPath = "/confirm"

// confirmAt is the address of that page for the form of r.
func confirmAt(r *http.Request) string {
	q := url.Values{"kind": {r.PathValue("kind")}, "back": {localPath(r.PostForm.Get("back"))}, "reason": {tidy(r.PostForm.Get("reason"))}}
	for _, name := range []string{"registry", "upstream", "ttl_s"} {
		q.Set(name, r.PostForm.Get(name))
	}
	return ConfirmPath + "?" + q.Encode()
}

// confirmed reports whether a form carries the registry's name as its reader has typed it,
// which forces what it asks for. Another name than that is a *Refusal.
func confirmed(form url.Values) (bool, error) {
	if !form.Has("confirm") {
		return false, nil
	}
	if strings.TrimSpace(form.Get("confirm")) != form.Get("registry") {
		return false, refuse(http.StatusBadRequest, codeNotConfirmed, "this is not the registry's name")
	}
	return true, nil
}

// actFor does it, and says what was done.
func actFor(h *handler, r *http.Request, m *messages.Catalogue) (string, error) {
	form, kind := r.PostForm, r.PathValue("kind")
	if verb, ok := strings.CutPrefix(kind, "cache_"); ok {
		return cacheFor(h, r, m, verb, form.Get("what"), form.Get("reason"))
	}
	if kind == warmKind && h.Warm != nil {
		h.Warm.RunNow()
		h.audit(r, warmKind, "", form.Get("reason"), cache.Change{}, nil)
		return m.Text("act.ok.warm"), nil
	}
	if h.Operator == nil {
		return "", refuse(http.StatusNotFound, "not_found", "there is no such page")
	}
	force, err := confirmed(form)
	if err != nil {
		return "", err
	}
	a := Action{
		Kind: Kind(kind), Registry: form.Get("registry"), Upstream: form.Get("upstream"), Order: form["order"],
		Reason: form.Get("reason"), Force: force, Actor: h.actor(r),
	}
	if ttl := form.Get("ttl_s"); ttl != "" {
		seconds, err := strconv.ParseInt(ttl, 10, 32)
		if err != nil || seconds < 1 {
			return "", refuse(http.StatusBadRequest, "bad_request", "ttl_s is a number of seconds")
		}
		a.TTL = time.Duration(seconds) * time.Second
	}
	if !m.Has("act.ok." + kind) {
		return "", refuse(http.StatusNotFound, "not_found", "there is no such action")
	}
	done, err := h.Operator.Act(r.Context(), a)
	if err != nil {
		return "", err
	}
	passed := 0
	for _, p := range done.Probes {
		if p.OK() {
			passed++
		}
	}
	return m.Text("act.ok."+kind, "registry", a.Registry, "upstream", a.Upstream, "passed", passed, "probed", len(done.Probes), "in_flight", done.InFlight), nil
}

// cacheFor does what a form asks of the cache.
func cacheFor(h *handler, r *http.Request, m *messages.Catalogue, verb, what, reason string) (string, error) {
	if h.Cache == nil || what == "" {
		return "", refuse(http.StatusNotFound, "cache_off", "there is no cache, or nothing was named")
	}
	switch verb {
	case "evict":
		change, err := h.Cache.Evict(r.Context(), what)
		h.audit(r, "cache_evict", what, reason, change, err)
		return m.Text("cache.evicted", "what", what, "objects", change.Objects, "size", Amount(change.Bytes)), err
	case "pin":
		change, err := h.Cache.Pin(r.Context(), what, true)
		h.audit(r, pinVerb(true), what, reason, change, err)
		return m.Text("cache.pinned", "what", what, "objects", change.Objects, "size", Amount(change.Bytes)), err
	case "unpin":
		change, err := h.Cache.Pin(r.Context(), what, false)
		h.audit(r, pinVerb(false), what, reason, change, err)
		return m.Text("cache.unpinned", "what", what, "objects", change.Objects, "size", Amount(change.Bytes)), err
	}
	return "", refuse(http.StatusNotFound, "not_found", "there is no such action")
}

// refusalText says in the language of m why something was not done; what has no text
// there, in English.
func refusalText(m *messages.Catalogue, err error) string {
	no, ok := errors.AsType[*Refusal](err)
	if ok && m.Has("act.no."+no.Code) {
		return m.Text("act.no." + no.Code)
	}
	return m.Text("act.no.other", "error", err.Error())
}

const (
	flashCookie = "pullchain_flash"
	flashLife   = 60  // seconds
	maxFlash    = 500 // bytes of its text: a cookie may have 4 KB
)

// setFlash has the browser's next page tell f.
func setFlash(w http.ResponseWriter, r *http.Request, f Flash) {
	f.Text = strings.ToValidUTF8(f.Text[:min(len(f.Text), maxFlash)], "")
	value, _ := json.Marshal(f) // of a string and a bool: it cannot fail
	http.SetCookie(w, cookie(r, flashCookie, base64.RawURLEncoding.EncodeToString(value), flashLife))
}

// takeFlash returns what the last form came to, once. The parts of a page that its
// script asks for do not take it.
func takeFlash(w http.ResponseWriter, r *http.Request) *Flash {
	value, err := base64.RawURLEncoding.DecodeString(cookieOf(r, flashCookie))
	if err != nil || len(value) == 0 || r.URL.Query().Has("fragment") {
		return nil
	}
	http.SetCookie(w, cookie(r, flashCookie, "", -1))
	var f Flash
	if json.Unmarshal(value, &f) != nil {
		return nil
	}
	return &f
}
