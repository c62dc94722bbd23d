// Package dashboard is the operator's plane as pages for people: what is up, which
// path serves, what was done and what to do. Pages are rendered here from the values
// that [admin.Sources] give, work without a script, and are kept up to date by a small
// one. It decides nothing and keeps nothing between two requests; logins, and what an
// action does, are the operator's plane's.
package dashboard

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"unicode"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
)

// New returns the handler of all pages. What a source has not is not on them.
func New(from admin.Sources) http.Handler {
	d := &dashboard{Sources: from, mux: http.NewServeMux()}
	d.templates = map[string]*template.Template{}
	for _, lang := range []string{messages.English, messages.Chinese} {
		d.templates[lang] = parse(messages.In(lang))
	}
	d.routes()
	return d
}

// A dashboard has no state but what it was made of.
type dashboard struct {
	admin.Sources
	mux       *http.ServeMux
	templates map[string]*template.Template // by language: the texts of a template are those of its set
}

// ServeHTTP answers a request for a page or for what a page is made of.
func (d *dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	d.mux.ServeHTTP(w, r)
}

func (d *dashboard) routes() {
	d.mux.HandleFunc("GET /{$}", d.page(home))
	d.mux.HandleFunc("GET /r/{registry}", d.page(registryView))
	d.mux.HandleFunc("GET /r/{registry}/u/{upstream}", d.page(laneView))
	d.mux.HandleFunc("GET /pulls", d.page(pullsView))
	d.mux.HandleFunc("GET /pulls/{id}", d.page(pullView))
	d.mux.HandleFunc("GET /requests/{id}", d.page(requestView))
	d.mux.HandleFunc("GET /clients", d.page(clientsView))
	d.mux.HandleFunc("GET /cache", d.page(cacheView))
	d.mux.HandleFunc("GET /setup", d.page(setupView))
	d.mux.HandleFunc("GET /explain", d.page(explainView))
	d.mux.HandleFunc("GET /keys", d.page(keysView))
	d.mux.HandleFunc("GET "+admin.ConfirmPath, d.page(confirmView))
	d.mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") == "csv" {
			d.eventsCSV(w, r)
			return
		}
		d.page(eventsView)(w, r)
	})
	d.mux.HandleFunc("GET /badge/{registry}", d.badge)
	d.mux.HandleFunc("GET /badge/{registry}/{upstream}", d.badge)
	d.mux.HandleFunc("GET /badge/{registry}/{upstream}/{picture}", d.uptime)
	d.mux.HandleFunc("GET /assets/{name}", asset)
	d.mux.HandleFunc("GET /", d.page(notFound))
}

// policy is the Content-Security-Policy: nothing comes from another origin, nothing
// runs that is not our one file, and no other page may put ours into a frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// A view makes what a template shows, from one snapshot. It names the template, which
// is "page-" and the name; its parts that can be asked for alone are the templates
// "panel-" and the name of the part.
type view func(d *dashboard, v *visit) (name string, model any)

// page returns the handler of a view.
func (d *dashboard) page(make view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := d.visit(w, r)
		name, model := make(d, v)
		var b bytes.Buffer
		if err := d.render(&b, v, name, model, r.URL.Query().Get("fragment")); err != nil {
			http.Error(w, "this page cannot be written: "+err.Error(), http.StatusInternalServerError)
			return
		}
		body := bytes.Map(visible, b.Bytes())
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Header().Set("Content-Language", v.Language)
		w.Header().Add("Vary", "Accept-Language, Cookie")
		w.WriteHeader(v.status)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body) // a reader that left needs no answer
		}
	}
}

// visible takes out what would be seen by no reader and yet change what is read: control
// characters, and those that turn the direction of writing around. Templates quote
// foreign text, and let these through.
func visible(r rune) rune {
	if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
		return unicode.ReplacementChar
	}
	return r
}

// maxFragments is how many parts of a page one request may ask for.
const maxFragments = 12

// render writes a page, or only the parts of it that are asked for by name, as the
// script does for what has changed. A part that the page does not have is left out.
func (d *dashboard) render(b *bytes.Buffer, v *visit, name string, model any, fragments string) error {
	t := d.templates[v.Language]
	if fragments == "" {
		for _, part := range []struct {
			name string
			data any
		}{{"head", v}, {"page-" + name, model}, {"foot", v}} {
			if err := t.ExecuteTemplate(b, part.name, part.data); err != nil {
				return err
			}
		}
		return nil
	}
	for i, part := range strings.Split(fragments, ",") {
		if i == maxFragments || t.Lookup("panel-"+part) == nil {
			break
		}
		if err := t.ExecuteTemplate(b, "panel-"+part, model); err != nil {
			return err
		}
	}
	return nil
}

// notFound is the page for an address that has none.
func notFound(_ *dashboard, v *visit) (string, any) {
	v.status = http.StatusNotFound
	v.Title = v.messages.Text("dash.not_found")
	return "missing", v
}
