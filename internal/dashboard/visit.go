package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
)

// A visit is one request for a page: what is looked at, in which language, and the
// daemon as it stood at that moment. The templates "head" and "foot" show it.
type visit struct {
	Language string // "en" or "zh"
	Tag      string // of the language, for HTML: "en", "zh-CN"
	Theme    string // "auto", "light" or "dark"
	Keys     bool   // single keys do something
	Title    string // of the page; the name of the program follows
	Path     string // of the request
	Snapshot admin.Snapshot
	Level    string // one of the levels of a summary, or "draining"
	speaker
	status   int
	query    url.Values
	host     string // that the request was sent to
	registry string // that the address names
	upstream string // that the address names
	id       string // that the address names
	viewer   admin.Viewer
	ctx      context.Context // of the request
	foreign  bool            // a page of another site made the request
	still    bool            // the page does not load itself anew: what is typed into it would be lost
}

// Still reports whether the page stays as it is where there are no scripts.
func (v *visit) Still() bool { return v.still }

// The settings that a browser keeps for us. They are not secret, and say nothing of
// the person.
const (
	themeCookie = "pullchain_theme"
	langCookie  = admin.LanguageCookie
	cookieAge   = 365 * 24 * 3600 // seconds
)

// visit reads what a request says about how its page is to look, and takes the one
// snapshot that the page is made of. ?lang and ?theme are kept in cookies.
func (d *dashboard) visit(w http.ResponseWriter, r *http.Request) *visit {
	q := r.URL.Query()
	v := &visit{Language: language(w, r, q), Theme: theme(w, r, q), Keys: keysAre(w, r), Path: r.URL.EscapedPath(), Snapshot: d.Sources.Snapshot(), status: http.StatusOK, query: q, host: r.Host,
		registry: r.PathValue("registry"), upstream: r.PathValue("upstream"), id: r.PathValue("id"), viewer: admin.ViewerOf(r.Context()), ctx: r.Context(), foreign: admin.IsForeign(r)}
	v.speaker = speaker{messages.In(v.Language), v.Snapshot.Now}
	v.Tag = v.Language
	if v.Language == messages.Chinese {
		v.Tag = "zh-CN"
	}
	v.Level = v.Snapshot.Summary.Level
	if v.Snapshot.Draining {
		v.Level = "draining"
	}
	return v
}

// wants reports whether a part of the page is asked for.
func (v *visit) wants(part string) bool {
	asked := v.query.Get("fragment")
	return asked == "" || slices.Contains(strings.Split(asked, ","), part)
}

// language decides by ?lang, the cookie and Accept-Language, in this order.
func language(w http.ResponseWriter, r *http.Request, q url.Values) string {
	if asked := q.Get("lang"); asked != "" {
		lang := known(asked)
		keep(w, langCookie, lang)
		return lang
	}
	if c, err := r.Cookie(langCookie); err == nil && c.Value != "" {
		return known(c.Value)
	}
	// Browsers list what they prefer first, so weights are not needed to tell two
	// languages apart. English is the answer to all that we do not have.
	for tag := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ = strings.Cut(strings.TrimSpace(tag), ";")
		if known(tag) == messages.Chinese {
			return messages.Chinese
		}
		if strings.HasPrefix(strings.ToLower(tag), messages.English) {
			return messages.English
		}
	}
	return messages.English
}

// known is the language among ours that a tag means.
func known(tag string) string {
	if messages.In(tag) == messages.In(messages.Chinese) {
		return messages.Chinese
	}
	return messages.English
}

// themes are the colours a reader can choose: as the system has it, or always one.
var themes = []string{"auto", "light", "dark"}

func theme(w http.ResponseWriter, r *http.Request, q url.Values) string {
	asked := q.Get("theme")
	if asked == "" {
		if c, err := r.Cookie(themeCookie); err == nil {
			return themeOf(c.Value)
		}
		return themes[0]
	}
	keep(w, themeCookie, themeOf(asked))
	return themeOf(asked)
}

func themeOf(word string) string {
	for _, t := range themes {
		if t == word {
			return t
		}
	}
	return themes[0]
}

func keep(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: cookieAge, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// with is the address of this page with one thing of its query changed.
func (v *visit) with(name, value string) string {
	q := url.Values{}
	for key, values := range v.query {
		if key != "lang" && key != "theme" && key != "keys" && key != "fragment" {
			q[key] = values
		}
	}
	q.Set(name, value)
	return v.Path + "?" + q.Encode()
}

// A link leads somewhere from the head of every page.
type link struct {
	Href, Text, Icon string
	Key              string // that leads there after "g"
	Current          bool
}

// Nav are the pages.
func (v *visit) Nav() []link {
	pages := []struct{ path, key, press string }{
		{"/", "dash.nav_home", "o"}, {"/pulls", "dash.nav_pulls", "p"}, {"/clients", "dash.nav_clients", "l"}, {"/events", "dash.nav_events", "e"}, {"/cache", "dash.nav_cache", "c"}, {"/explain", "dash.nav_explain", "x"}, {"/setup", "dash.nav_setup", "s"},
	}
	var out []link
	for _, p := range pages {
		out = append(out, link{Href: p.path, Text: v.messages.Text(p.key), Key: p.press, Current: v.Path == p.path || p.path != "/" && strings.HasPrefix(v.Path, p.path)})
	}
	return out
}

// Themes are the choices of colours.
func (v *visit) Themes() []link {
	var out []link
	for _, t := range themes {
		out = append(out, link{Href: v.with("theme", t), Text: v.messages.Text("dash.theme." + t), Icon: t, Current: v.Theme == t})
	}
	return out
}

// Other is this page in the other language, by that language's own name.
func (v *visit) Other() link {
	if v.Language == messages.Chinese {
		return link{Href: v.with("lang", "en"), Text: "English", Icon: "en"}
	}
	return link{Href: v.with("lang", "zh"), Text: "中文", Icon: "zh-CN"}
}

// Favicon is the picture in the tab: the level, as a colour and a shape.
func (v *visit) Favicon() string { return asseturl("icon-" + v.Level + ".svg") }
