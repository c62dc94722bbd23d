package admin

// A RouteDoc is a route as the document for programs tells of it.
type RouteDoc struct {
	Method, Path, ID, About, Media string
	Public, Form                   bool
	Query                          [][3]string // name, kind, what it is
	Body, Answer                   any
	Problems                       []string
}

// RouteDocs returns those of all routes.
func RouteDocs() []RouteDoc {
	var out []RouteDoc
	for _, r := range routes {
		d := RouteDoc{
			Method: r.method, Path: r.path, Public: r.public, Form: r.form,
			ID: r.doc.id, About: r.doc.about, Media: r.doc.media, Body: r.doc.body, Answer: r.doc.answer, Problems: r.doc.problems,
		}
		for _, p := range r.doc.query {
			d.Query = append(d.Query, [3]string{p.name, p.kind, p.about})
		}
		out = append(out, d)
	}
	return out
}

// OpenAPIDocument is the one that is served.
func OpenAPIDocument() []byte { return openAPIDocument }
