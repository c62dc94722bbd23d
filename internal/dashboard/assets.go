package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/pullchain/pullchain/internal/messages"
)

//go:embed assets/style.css assets/live.js html/*.html
var files embed.FS

// mediaTypes of what a page is made of.
var mediaTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// assets are what pages load, by name.
var assets = sync.OnceValue(func() map[string][]byte {
	out := map[string][]byte{}
	for _, name := range []string{"style.css", "live.js"} {
		data, err := files.ReadFile("assets/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		out[name] = data
	}
	for level, look := range favicons {
		out["icon-"+level+".svg"] = []byte(fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="%s"/><path fill="#fff" fill-rule="evenodd" transform="translate(5 5) scale(1.375)" d="%s"/></svg>`, look.color, icons[look.icon]))
	}
	return out
})

// packed are the assets as browsers take them: a third as long.
var packed = sync.OnceValue(func() map[string][]byte {
	out := map[string][]byte{}
	for name, data := range assets() {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(data) // to memory, which takes all
		_ = z.Close()
		out[name] = b.Bytes()
	}
	return out
})

// favicons show the level to readers of another tab: by colour, and by shape for those
// that do not see it.
var favicons = map[string]struct{ color, icon string }{
	"ok":       {"#15803d", "check"},
	"degraded": {"#b45309", "degraded"},
	"outage":   {"#b91c1c", "down"},
	"draining": {"#52606d", "drained"},
}

// asseturl is where an asset is, with its content in the address, so that a browser
// may keep it for good.
func asseturl(name string) string {
	sum := sha256.Sum256(assets()[name])
	return "/assets/" + name + "?v=" + hex.EncodeToString(sum[:6])
}

// asset answers with one of the files that pages load.
func asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	data, ok := assets()[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mediaTypes[path.Ext(name)])
	w.Header().Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		data = packed()[name]
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.URL.RawQuery != "" && strings.HasSuffix(asseturl(name), r.URL.RawQuery) {
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // a reader that left needs no answer
	}
}

// parse returns the templates with the texts of one language in them.
func parse(m *messages.Catalogue) *template.Template {
	t := template.New("").Funcs(template.FuncMap{
		"t":     m.Text,
		"asset": asseturl,
		"icon":  func(name string) string { return icons[name] },
	})
	return template.Must(t.ParseFS(files, "html/*.html"))
}

// icons are shapes on a grid of 16, one for each state of a lane and some more. A state
// is a shape, a word and a colour: each tells it alone.
var icons = map[string]string{
	"serving":     "M4 2.2v11.6L13.6 8z",
	"standby":     "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3zm0 1.7a3.3 3.3 0 1 1 0 6.6 3.3 3.3 0 0 1 0-6.6z",
	"warning":     "M8 1.2 15.4 14.4H.6zM7.1 6v4.2h1.8V6zm0 5.4v1.7h1.8v-1.7z",
	"degraded":    "M8 1.2 15.4 14.4H.6zM7.1 6v4.2h1.8V6zm0 5.4v1.7h1.8v-1.7z",
	"cooling":     "M3.5 2.5h3.2v11H3.5zm5.8 0h3.2v11H9.3z",
	"open":        "M9.6.8 2.8 9h4.4l-1 6.2L13.2 7H8.6z",
	"half_open":   "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zm0 1.7v9.6a4.8 4.8 0 0 1 0-9.6z",
	"down":        "M3.5 2.1 8 6.6l4.5-4.5 1.4 1.4L9.4 8l4.5 4.5-1.4 1.4L8 9.4l-4.5 4.5-1.4-1.4L6.6 8 2.1 3.5z",
	"quarantined": "M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1zM4 7v2h8V7z",
	"drained":     "M7 1.5h2v6h3.2L8 11.7 3.8 7.5H7zM2.5 12.8h11v1.7h-11z",
	"disabled":    "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm0 1.8c1.1 0 2.2.4 3.1 1L3.8 11.1A5.2 5.2 0 0 1 8 2.8zm0 10.4c-1.1 0-2.2-.4-3.1-1l7.3-7.3A5.2 5.2 0 0 1 8 13.2z",
	"unknown":     "M8 1.3a4.1 4.1 0 0 0-4.1 4.1h2a2.1 2.1 0 1 1 3.2 1.8C7.7 8 7 8.9 7 10.3h2c0-.7.3-1 1.1-1.5A4.1 4.1 0 0 0 8 1.3zM6.9 12h2.2v2.3H6.9z",

	"check":    "M6.2 12.9 1.5 8.2l1.6-1.6 3.1 3.1 6.7-6.7 1.6 1.6z",
	"info":     "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm-.9 3h1.8v1.8H7.1zm0 3.2h1.8V12H7.1z",
	"critical": "M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1zm2 2.9v4.9h1.8V3.9zm0 6.3V12h1.8v-1.8z",
	"arrow":    "M8.6 2.8 13.8 8l-5.2 5.2-1.2-1.2 3.1-3.1H2.2V7.1h8.3L7.4 4z",
	"auto":     "M8 1.5a6.5 6.5 0 1 0 0 13zm0 0v13a6.5 6.5 0 0 0 0-13zm0 1.5a5 5 0 0 1 0 10z",
	"light":    "M8 4.6a3.4 3.4 0 1 0 0 6.8 3.4 3.4 0 0 0 0-6.8zM7.3.8h1.4v2.4H7.3zm0 12h1.4v2.4H7.3zM.8 7.3h2.4v1.4H.8zm12 0h2.4v1.4h-2.4zM2.4 3.4l1-1 1.7 1.7-1 1zm8.5 8.5 1-1 1.7 1.7-1 1zm1.7-9.5 1 1-1.7 1.7-1-1zM4.1 10.9l1 1-1.7 1.7-1-1z",
	"dark":     "M6.4 1.8a6.4 6.4 0 1 0 7.8 7.8 5.2 5.2 0 0 1-7.8-7.8z",
	"cache":    "M2 2.5h12v4H2zm0 5h12v4H2zM4 4v1h2V4zm0 5v1h2V9zM2 12.5h12V14H2z",
}
