package admin

import (
	"context"
	"net"
	"net/http"
	"net/netip"

	"github.com/pullchain/pullchain/internal/messages"
)

// A Viewer is the browser that a page is made for.
type Viewer struct {
	CanAct   bool                // forms are of use to it
	CSRF     string              // goes into each form as the hidden field "csrf"
	Actor    string              // as the audit lines name it: how it may act, and its address
	LoggedIn bool                // there is a login that POST /logout ends
	Messages *messages.Catalogue // of its language
	Flash    *Flash              // what its last form came to; nil if there is nothing to say
}

// viewerKey is where a request's context has its Viewer.
type viewerKey struct{}

// ViewerOf returns the Viewer that a page is made for. Outside of a page's request it
// may do nothing, and reads English.
func ViewerOf(ctx context.Context) Viewer {
	if v, ok := ctx.Value(viewerKey{}).(Viewer); ok {
		return v
	}
	return Viewer{Messages: messages.In(messages.English)}
}

// languageOf is the language of an answer for people: as the address says, else the
// cookie that a page sets, else what the browser prefers.
func languageOf(r *http.Request) *messages.Catalogue {
	if lang := r.URL.Query().Get("lang"); lang != "" {
		return messages.In(lang)
	}
	if c, err := r.Cookie(LanguageCookie); err == nil && c.Value != "" {
		return messages.In(c.Value)
	}
	return messages.Preferred(r.Header.Get("Accept-Language"))
}

// LanguageCookie is the cookie that says which language a browser is answered in: "en" or
// "zh".
const LanguageCookie = "pullchain_lang"

// actorOf is how the audit lines name where a request comes from.
func actorOf(r *http.Request) string {
	if addr := addrOf(r); addr.IsValid() {
		return addr.String()
	}
	return "unknown"
}

// addrOf is the address that a request comes from. A listener on a socket file has none.
func addrOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(host)
	return addr.Unmap()
}
