package simnet

import (
	"fmt"
	"net/http"
	"strings"
)

// A Quirk is an oddity of a registry, of its CDN or of what stands before it, as public
// reports tell of them. It is no fault: an ordinary client that asks directly gets its
// image, or gets an error for what is odd and everything else.
type Quirk struct {
	Name     string // of letters, digits and dashes, for tables
	What     string // in words
	Harmless bool   // a client that asks directly gets the image; else only others than OddRepo, or later

	// Play puts it on duty at h, which must redirect its blobs to its CDN as Hub does by
	// default. The returned function takes it off again.
	Play func(h *Hub) (undo func())
}

// OddRepo is the repository to which the quirks happen that are one image's alone. It
// need not exist.
const OddRepo = "odd/image"

// Quirks returns all of them, in the order of their kinds.
func Quirks() []Quirk {
	var all []Quirk
	for _, kind := range [][]Quirk{
		rangeQuirks(), headQuirks(), labelQuirks(), encodingQuirks(), bodyQuirks(), redirectQuirks(),
		referrersQuirks(), missingQuirks(), limitQuirks(), oddImageQuirks(),
	} {
		all = append(all, kind...)
	}
	return all
}

// FindQuirk returns the quirk of that name; it panics if there is none.
func FindQuirk(name string) Quirk {
	for _, q := range Quirks() {
		if q.Name == name {
			return q
		}
	}
	panic("simnet: no quirk " + name)
}

// atHub and atCDN make a Play of faults at one server.
func atHub(faults ...Fault) func(*Hub) func() {
	return func(h *Hub) func() { return injectAll(h.Server, faults) }
}

func atCDN(faults ...Fault) func(*Hub) func() {
	return func(h *Hub) func() { return injectAll(h.CDN.Server, faults) }
}

func injectAll(s *Server, faults []Fault) func() {
	var undo []func()
	for _, f := range faults {
		undo = append(undo, s.Inject(f))
	}
	return func() {
		for _, f := range undo {
			f()
		}
	}
}

// says is an answer with a status, a type and a body.
func says(on Class, status int, contentType, body string) Fault {
	return Fault{On: on, Status: status, Body: body, Header: map[string]string{
		"Content-Type": contentType, "Docker-Distribution-Api-Version": "",
	}}
}

const (
	invalidArgument = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidArgument</Code><Message>Invalid argument.</Message></Error>`
	webPage         = "<!DOCTYPE html><html><body>Whoa there!</body></html>\n"
	routerNotFound  = "404 page not found\n"
	ingressNotFound = "default backend - 404"
	plainText       = "text/plain; charset=utf-8"
)

func rangeQuirks() []Quirk {
	refused := func(status int) Fault {
		f := says(Blobs, status, "application/xml", invalidArgument)
		f.Ranged = true
		return f
	}
	var all []Quirk
	for _, status := range []int{400, 403, 405, 416, 501} {
		all = append(all, Quirk{
			Name: fmt.Sprintf("range-%d", status), What: fmt.Sprintf("the CDN answers every Range with %d", status), Harmless: true,
			Play: atCDN(refused(status)),
		})
	}
	cut := Fault{On: Blobs, Method: http.MethodGet, Times: 1, Cut: EndFIN, CutFraction: 0.3}
	return append(all,
		Quirk{"range-400-first-cut", "the same with 400, and the first blob breaks off", false, atCDN(refused(400), cut)},
		Quirk{"range-ignored", "the CDN answers every Range with everything", true, atCDN(Fault{On: Blobs, IgnoreRange: true})},
		Quirk{"range-no-content-range", "206 without a Content-Range", true, atCDN(Fault{On: Blobs, Ranged: true, Header: map[string]string{"Content-Range": ""}})},
		Quirk{"range-elsewhere", "206 with another part than was asked for", false, atCDN(Fault{On: Blobs, Ranged: true, RangeShift: 7})},
	)
}

func headQuirks() []Quirk {
	var all []Quirk
	for _, status := range []int{400, 403, 404, 405, 500, 501, 503} {
		all = append(all, Quirk{
			Name: fmt.Sprintf("head-manifest-%d", status), What: fmt.Sprintf("HEAD of a manifest is %d without a body, GET is fine", status),
			Play: atHub(Fault{On: Manifests, Method: http.MethodHead, Status: status}),
		})
	}
	for _, status := range []int{403, 405} {
		all = append(all, Quirk{
			Name: fmt.Sprintf("head-blob-%d", status), What: fmt.Sprintf("links are signed for GET: HEAD at the CDN is %d", status), Harmless: true,
			Play: atCDN(Fault{On: Blobs, Method: http.MethodHead, Status: status, Header: map[string]string{"Content-Type": "application/xml"}}),
		})
	}
	return append(all, Quirk{"head-blob-404", "HEAD of a blob is 404 at the registry, GET is fine (Harbor's proxy projects)", true,
		atHub(Fault{On: Blobs, Method: http.MethodHead, Status: 404})})
}

func labelQuirks() []Quirk {
	var all []Quirk
	for name, label := range map[string]string{
		"json": "application/json", "plain": plainText, "octet": "application/octet-stream", "none": "", "html": "text/html; charset=utf-8",
		"docker-on-oci": TypeDockerManifest, "capitals": strings.ToUpper(TypeOCIManifest) + `; Charset="UTF-8"`,
	} {
		for suffix, header := range map[string]map[string]string{
			"":           {"Content-Type": label},
			"-no-digest": {"Content-Type": label, "Docker-Content-Digest": ""},
		} {
			all = append(all, Quirk{
				Name: "label-" + name + suffix, What: fmt.Sprintf("manifests are labelled %q%s", label, map[string]string{"-no-digest": ", without a digest header"}[suffix]),
				Play: atHub(Fault{On: Manifests, Header: header}),
			})
		}
	}
	sortQuirks(all)
	return append(all,
		Quirk{"label-wrong-digest", "Docker-Content-Digest is another's", false, atHub(WrongDigest())},
		Quirk{"label-blob-html", "blobs are labelled text/html", true, atCDN(Fault{On: Blobs, Header: map[string]string{"Content-Type": "text/html"}})},
		Quirk{"label-no-version", "no Docker-Distribution-Api-Version", true, atHub(Fault{Header: map[string]string{"Docker-Distribution-Api-Version": ""}})},
	)
}

func encodingQuirks() []Quirk {
	named := func(on Class, encoding string, packed bool) Fault {
		return Fault{On: on, Gzip: packed, Header: map[string]string{"Content-Encoding": encoding}}
	}
	return []Quirk{
		{"aws-chunked", "blobs are labelled aws-chunked, their bytes are plain", true, atCDN(named(Blobs, "aws-chunked", false))},
		{"aws-chunked-gzip", "blobs are labelled aws-chunked,gzip and packed", false, atCDN(named(Blobs, "aws-chunked,gzip", true), Fault{On: Blobs, IgnoreRange: true})},
		{"gzip-blobs", "blobs are packed although identity was asked for", false, atCDN(named(Blobs, "gzip", true), Fault{On: Blobs, IgnoreRange: true})},
		{"gzip-manifests", "manifests are packed although identity was asked for", false, atHub(named(Manifests, "gzip", true))},
		{"gzip-manifests-unlabelled", "the same without a label", false, atHub(named(Manifests, "identity", true))},
	}
}

func bodyQuirks() []Quirk {
	nothing := Fault{On: Blobs, Method: http.MethodGet, Times: 1, Status: 200}
	return []Quirk{
		{"chunked", "nothing has a length", true, func(h *Hub) func() {
			hub, cdn := h.Inject(Fault{NoLength: true}), h.CDN.Inject(Fault{NoLength: true})
			return func() { hub(); cdn() }
		}},
		{"status-206", "206 for the whole of a blob", true, atCDN(Fault{On: Blobs, As: 206})},
		{"status-203", "203 for everything", false, atHub(Fault{On: Manifests, As: 203})},
		{"empty-once", "the first blob is empty, with a length of 0", false, atCDN(nothing)},
		{"empty-once-chunked", "the first blob is empty, without a length", false, atCDN(Fault{On: Blobs, Method: http.MethodGet, Times: 1, NoLength: true, Cut: EndClean})},
		{"cut-once", "the first blob breaks off", false, atCDN(Fault{On: Blobs, Method: http.MethodGet, Times: 1, Cut: EndFIN, CutFraction: 0.4})},
	}
}
