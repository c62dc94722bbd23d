package dashboard

import "net/http"

// Keys are pressed alone, which gets into the way of readers that dictate, or press keys
// by accident: they can be switched off (WCAG 2.2, 2.1.4), and a cookie keeps that.
const (
	keysCookie = "pullchain_keys"
	keysOff    = "off"
)

// keysAre reports whether the keys work for the browser of r. ?keys is kept in a cookie.
func keysAre(w http.ResponseWriter, r *http.Request) bool {
	if asked := r.URL.Query().Get("keys"); asked != "" {
		if asked != keysOff {
			asked = "on"
		}
		keep(w, keysCookie, asked)
		return asked != keysOff
	}
	c, err := r.Cookie(keysCookie)
	return err != nil || c.Value != keysOff
}

// A shortcut is something to press, and what it does.
type shortcut struct {
	Press []string
	Does  string
}

// Shortcuts are all that the script knows: the pages, and what can be done on one.
func (v *visit) Shortcuts() []shortcut {
	out := []shortcut{
		{[]string{"?"}, v.messages.Text("dash.keys_list")},
		{[]string{"/"}, v.messages.Text("dash.keys_search")},
		{[]string{"←", "→"}, v.messages.Text("dash.keys_cells")},
		{[]string{"Home", "End"}, v.messages.Text("dash.keys_ends")},
	}
	for _, page := range v.Nav() {
		out = append(out, shortcut{[]string{"g", page.Key}, page.Text})
	}
	return out
}

// KeysSwitch turns the keys off, or on again.
func (v *visit) KeysSwitch() link {
	if v.Keys {
		return link{Href: "/keys?keys=" + keysOff, Text: v.messages.Text("dash.keys_off")}
	}
	return link{Href: "/keys?keys=on", Text: v.messages.Text("dash.keys_on")}
}

// keysView is the page of the keys, for those that have no script or want to switch them
// off.
func keysView(_ *dashboard, v *visit) (string, any) {
	v.Title, v.still = v.messages.Text("dash.keys"), true
	return "keys", v
}
