package front

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// searchPath is where `docker search HOST/name` asks. It is all that is served of the
// registry API of before 2014.
const searchPath = "/v1/search"

// Bounds of what is looked for. Docker Hub gives a hundred results a page at most.
const (
	maxTerm    = 255
	maxResults = 100
	maxPage    = 10_000
)

// A search is a request for the index of docker.io, the one registry that has one.
type search struct{ *exchange }

// answer asks the index.
func (x search) answer() {
	reg := x.h.routes.Load().byName(defaultRegistry)
	if reg == nil || reg.Search == nil {
		x.refuse(problem{
			status: http.StatusNotFound, code: wire.CodeUnsupported,
			message: "there is nothing to search at: no upstream of docker.io is the registry itself (authoritative = true)",
		})
		return
	}
	query, ok := searchQuery(x.r.URL.Query())
	if !ok {
		x.refuse(problem{
			status: http.StatusBadRequest, code: wire.CodeUnsupported,
			message: "a search has q, of 1 to 255 bytes, and may have n, of 1 to 100, and page",
		})
		return
	}
	body, err := reg.Search(x.r.Context(), query)
	if err != nil {
		x.searchFailed(err)
		return
	}
	x.rec.setHeader("Content-Type", "application/json")
	x.rec.setHeader("X-Content-Type-Options", "nosniff")
	x.rec.setHeader("Content-Length", strconv.Itoa(len(body)))
	x.rec.WriteHeader(http.StatusOK)
	if x.r.Method != http.MethodHead {
		x.rec.Write(body)
	}
}

// searchQuery returns what goes on of a client's query: the term, without the name space that
// people cannot see, and the numbers of paging. ok is false for what no client sends.
func searchQuery(from url.Values) (query string, ok bool) {
	term := strings.TrimPrefix(strings.TrimSpace(from.Get("q")), "library/")
	if term == "" || len(term) > maxTerm || strings.ContainsFunc(term, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", false
	}
	to := url.Values{"q": {term}}
	for name, most := range map[string]int{"n": maxResults, "page": maxPage} {
		if !from.Has(name) {
			continue
		}
		n, err := strconv.Atoi(from.Get(name))
		if err != nil || n < 1 || n > most {
			return "", false
		}
		to.Set(name, strconv.Itoa(n))
	}
	return to.Encode(), true
}

// searchFailed says why there are no results.
func (x search) searchFailed(err error) {
	x.err = err
	if x.clientGone() {
		x.gone = true
		panic(http.ErrAbortHandler)
	}
	e := errorOf(err)
	p := problem{status: e.Reason.HTTPStatus(), code: wire.CodeUnavailable, message: "the search at " + cmp.Or(e.Upstream, defaultRegistry) + " failed: " + lastWord(e)}
	if _, text := said(e); text != "" {
		p.message += quoted(text)
	}
	if e.Reason != pullchain.Corrupt && e.Reason != pullchain.Refused {
		p.status, p.retryAfter = http.StatusServiceUnavailable, retryAfter(e)
	}
	x.refuse(p)
}
