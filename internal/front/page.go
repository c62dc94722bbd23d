package front

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/setup"
)

// A page is what GET / shows at a data listener: how each kind of client uses the very
// address that was asked. It is a text, or HTML for a browser; it has no script, and says
// nothing that /v2/ would not.
type page struct {
	setup.Mirror
	Lang    string
	Default string // the registry that a path without one means; empty: docker.io
}

//go:embed html/page.html
var pageHTML string

//go:embed html/page.css
var pageCSS string

// pagePolicy lets a browser take the style of the page and nothing else.
var pagePolicy = "default-src 'none'; style-src 'sha256-" + sumOf(pageCSS) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// The style is ours, and its sum is in the policy: it must not be changed on its way.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(pageCSS) },
}).Parse(pageHTML))

// A visit is a request for the page.
type visit struct{ *exchange }

// answer shows the page.
func (x visit) answer() {
	p := x.page()
	var body bytes.Buffer
	mediaType := "text/plain; charset=utf-8"
	if strings.Contains(x.r.Header.Get("Accept"), "text/html") {
		mediaType = "text/html; charset=utf-8"
		if err := pageTemplate.Execute(&body, p); err != nil { // a test reads it
			x.err = err
		}
	} else {
		p.text(&body)
	}
	h := x.rec.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Content-Language", p.Lang)
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept, Accept-Language")
	x.rec.WriteHeader(http.StatusOK)
	if x.r.Method != http.MethodHead {
		x.rec.Write(body.Bytes())
	}
}

// page returns the page for this request.
func (x visit) page() *page {
	catalogue := messages.Preferred(x.r.Header.Get("Accept-Language"))
	routes := x.h.routes.Load()
	p := &page{Mirror: setup.Mirror{URL: x.ownURL(), Text: catalogue.Text, Registries: routes.registries()}, Lang: catalogue.Text("mirror.lang")}
	if reg := routes.byName(x.door.registry); reg != nil && !reg.isHub() {
		p.Default = reg.Name
	}
	return p
}

// plainHost is a host as a client can have written it, and as it can stand in a file of any
// client without being quoted.
var plainHost = regexp.MustCompile(`^([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// ownURL is the address by which the client reached us: the name that it used, unless that
// could not be a host, and the scheme, which a trusted proxy may have taken off.
func (x visit) ownURL() string {
	scheme := "http://"
	if x.r.TLS != nil || x.h.proxies.contains(addrOf(x.r.RemoteAddr)) && x.r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https://"
	}
	host := x.r.Host
	if !plainHost.MatchString(host) {
		host = ""
		if addr, ok := x.r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			host = addr.String()
		}
	}
	return scheme + host
}

// Runtimes are the clients that this listener is for: those that know mirrors of docker.io
// alone would take the images of another registry for its.
func (p *page) Runtimes() []setup.Runtime {
	all := p.Mirror.Runtimes()
	if p.Default == "" {
		return all
	}
	var out []setup.Runtime
	for _, r := range all {
		if r.ID != "docker" && r.ID != "desktop" {
			out = append(out, r)
		}
	}
	return out
}

// Known is the names of the registries in one line.
func (p *page) Known() string { return strings.Join(p.Mirror.Registries, " ") }

// text writes the page for a terminal, to be copied from.
func (p *page) text(to *bytes.Buffer) {
	line := func(parts ...string) { to.WriteString(strings.Join(parts, "") + "\n") }
	line(p.Text("mirror.title"))
	line()
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{{"mirror.address", p.URL}, {"mirror.registries", p.Known()}, {"mirror.default", p.Default}} {
		if row[1] != "" {
			w.Write([]byte(p.Text(row[0]) + "\t" + row[1] + "\n"))
		}
	}
	w.Flush()
	notes := []string{p.Text("setup.fallback"), p.Certificate()}
	if p.Loopback() {
		notes = append(notes, p.Text("setup.loopback"))
	}
	for _, note := range notes {
		if note != "" {
			line()
			line(note)
		}
	}
	for _, r := range p.Runtimes() {
		line()
		line("# ", r.Name, " (", r.About, ")")
		for _, s := range r.Steps {
			line()
			line(strings.TrimSpace(s.Title+" "+s.File), ":")
			line(s.Snippet) // not indented: the end of a here-document must not be
		}
		if len(r.Notes) > 0 {
			line()
		}
		for _, n := range r.Notes {
			line("- ", n)
		}
	}
}
