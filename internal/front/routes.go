package front

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/regauth"
)

// defaultRegistry is what a name without a registry means, unless the listener says
// otherwise: Docker's classic path sends no namespace at all (docs/protocol.md 4.4).
const defaultRegistry = "docker.io"

// A Registry is one registry that is served, and the chain that serves it.
type Registry struct {
	// Name is the canonical host, as in "docker.io".
	Name string

	// Aliases are other names for it: hosts of the same registry
	// ("index.docker.io"), names of this mirror ("ghcr.mirror.example.com"),
	// or words for the path ("ghcr").
	Aliases []string

	// TagTTL is how long a cache in front of us may keep what a tag means, a minute at
	// most; 0: it has to ask each time.
	TagTTL time.Duration

	// Fetcher answers its reads.
	Fetcher pullchain.Fetcher

	// Search asks its index of repositories with a raw query, and returns a JSON object;
	// nil if it has none. Its errors have a Reason.
	Search func(ctx context.Context, query string) ([]byte, error)

	// Token gets a client a token to read repos by its own login, from the registry's
	// own token server; without repos it tells whether the login is right. Nil: clients'
	// logins are not passed on to the registry.
	Token func(ctx context.Context, login regauth.Login, repos []string) (regauth.Grant, error)

	// Asked says that a client has made the name up: it stands in paths and in ns, and is
	// no name of this mirror's in Host, nor shown to other clients.
	Asked bool
}

// words are short names that paths may have for registries, as recipes for mirrors
// have them. They are known without being named, and give way to every other name.
var words = map[string]string{
	"ghcr":    "ghcr.io",
	"quay":    "quay.io",
	"gcr":     "gcr.io",
	"rk8s":    "registry.k8s.io",
	"kgcr":    "k8s.gcr.io",
	"mcr":     "mcr.microsoft.com",
	"nvcr":    "nvcr.io",
	"elastic": "docker.elastic.co",
	"ecr":     "public.ecr.aws",
}

// Routes is the immutable table of the registries that are served. The zero
// value knows none. It may be shared.
type Routes struct {
	names map[string]*Registry // every name and alias, in lower case
	order []string             // of the registries' own names

	firstPassing *Registry // of those that have a Token; nil if there is none
	onePassing   bool      // it is the only one
}

// NewRoutes returns the table of these registries. Two registries with one name
// between them, a name that could not stand in a path, or a missing Fetcher is
// an error.
func NewRoutes(registries []Registry) (*Routes, error) {
	t := &Routes{names: make(map[string]*Registry)}
	var errs []error
	for i := range registries {
		reg := registries[i]
		if !reg.Asked {
			t.order = append(t.order, reg.Name)
		}
		if reg.passes() {
			t.onePassing = t.firstPassing == nil
			t.firstPassing = cmp.Or(t.firstPassing, &reg)
		}
		if reg.Fetcher == nil {
			errs = append(errs, fmt.Errorf("registry %q has no fetcher", reg.Name))
		}
		for _, name := range append([]string{reg.Name}, reg.Aliases...) {
			if err := t.add(name, &reg); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return t, errors.Join(errs...)
}

// add enters one name. "v2" would make the paths of the API ambiguous; the other
// refusals are characters that end a component or a host.
func (t *Routes) add(name string, reg *Registry) error {
	key := strings.ToLower(name)
	if key == "" || key == "v2" || len(key) > 255 || strings.ContainsAny(key, "/\\?#%@ ") {
		return fmt.Errorf("registry %q: %q cannot be a registry's name", reg.Name, name)
	}
	if other, taken := t.names[key]; taken && other != reg {
		return fmt.Errorf("registry %q: the name %q is already that of %q", reg.Name, name, other.Name)
	}
	t.names[key] = reg
	return nil
}

// registries returns the names of the registries, in the order in which they were given.
func (t *Routes) registries() []string {
	if t == nil {
		return nil
	}
	return t.order
}

// byName returns the registry with this name or alias, or nil.
func (t *Routes) byName(name string) *Registry {
	if t == nil {
		return nil
	}
	name = strings.ToLower(name)
	if reg := t.names[name]; reg != nil {
		return reg
	}
	return t.names[strings.TrimSuffix(name, ":443")]
}

// byWord is byName for a name that can be nothing but a registry's: the words
// are among those.
func (t *Routes) byWord(name string) *Registry {
	if reg := t.byName(name); reg != nil {
		return reg
	}
	if host := words[strings.ToLower(name)]; host != "" {
		return t.byName(host)
	}
	return nil
}

// byHost returns the registry that a Host header names, or nil.
func (t *Routes) byHost(hostport string) *Registry {
	for _, host := range []string{hostport, hostOnly(hostport)} {
		if reg := t.byName(host); reg != nil && !reg.Asked && looksLikeHost(host) {
			return reg
		}
	}
	return nil
}

// A form is the way in which a client named the registry, for logs.
type form string

const (
	formDefault form = "default"
	formNS      form = "ns"
	formPath    form = "path"
	formHost    form = "host"
)

// A target is what Routes.resolve makes of a URL.
type target struct {
	registry *Registry // nil for a ping that names none
	form     form
	path     string // escaped, from /v2 on, without the registry's name
	ns       string // what ?ns= said, as the client wrote it

	// twice says that the path had /v2 before the registry's name and after it.
	twice bool

	// doubt is the first component of the repository's name, where it may be none
	// of it: the name is then tried with it first, and without it after that.
	doubt string
}

// unknownRegistry is the error for a registry that is not served: a 404 at
// once, so that every client falls on to its next mirror (docs/protocol.md 5.11).
type unknownRegistry struct {
	name string
	why  error // nil: no more is known
}

func (e unknownRegistry) Error() string {
	if e.why != nil {
		return "the registry " + e.name + " is not served here: " + e.why.Error()
	}
	return "the registry " + e.name + " is not served here"
}

// errNotAPI is the error for a path outside the registry API.
var errNotAPI = errors.New("no such page; the registry API is under /v2/")

// resolve finds the registry, trying the client forms in the order of docs/architecture.md,
// "Names that people type". byDefault is the registry that a path without one means.
func (t *Routes) resolve(host, escapedPath, rawQuery, byDefault string) (target, error) {
	prefix, path, ok := splitAPI(escapedPath)
	if !ok {
		return target{}, errNotAPI
	}
	rest := strings.TrimPrefix(path[len("/v2"):], "/")
	x := target{ns: nsOf(rawQuery), path: path}
	first, after := firstComponent(rest)

	// A known host in the path wins over ns: podman sends the path alone, BuildKit
	// both, and the path is what its user wrote (docs/protocol.md 5). A word without a
	// dot in the path, an alias such as "ghcr", comes after ns, for a repository
	// may be called so too.
	byFirst := t.byName(first)
	switch {
	case byFirst != nil && looksLikeHost(first):
		x.registry, x.form, x.path = byFirst, formPath, "/v2/"+after
		if byFirst.isHub() || x.ns != "" && t.byName(x.ns) == byFirst {
			x.twice = x.dropFirst("v2")
		}
	case x.ns != "":
		x.registry, x.form = t.byName(x.ns), formNS
		if x.registry == nil && rest != "" {
			return x, unknownRegistry{name: x.ns}
		}
		// The address of a mirror in hosts.toml may end with an alias.
		if first != "" && t.byWord(first) == x.registry {
			x.dropFirst(first)
		}
	case prefix != "":
		x.registry, x.form = t.byWord(prefix), formPath
		if x.registry == nil {
			return x, unknownRegistry{name: prefix}
		}
	case byFirst != nil:
		x.registry, x.form, x.path = byFirst, formPath, "/v2/"+after
	default:
		x.registry, x.form = t.byHost(host), formHost
		if x.registry == nil {
			x.registry, x.form = t.byName(byDefault), formDefault
		}
		if x.registry == nil && rest != "" {
			return x, unknownRegistry{name: byDefault}
		}
		if x.form == formHost || !x.registry.isHub() {
			break // there, names of any kind may be
		}
		if namesUnknownHost(first, after) {
			return x, unknownRegistry{name: first}
		}
		if reg := t.byWord(first); reg != nil && (after == "" || components(rest) > hubDepth) {
			x.registry, x.form, x.path = reg, formPath, "/v2/"+after
		}
	}
	return x, nil
}

// hubDepth is how many components the names of Docker Hub's repositories have. In a
// longer one the first component cannot be a part of the name, and in one of this
// length it is: docker.io/elastic/filebeat is not docker.elastic.co/filebeat.
const hubDepth = 2

// isHub reports whether r is Docker Hub; r may be nil.
func (r *Registry) isHub() bool { return r != nil && r.Name == defaultRegistry }

// components returns how many components the repository's name has in a path of the
// API that is without its "/v2/"; the last two name what is asked for.
func components(path string) int { return strings.Count(path, "/") - 1 }

// dropFirst takes first off the path's repository name, if that begins so and it
// cannot be a part of it, and notes it as a doubt if it may be one. It reports
// whether it took it off.
func (x *target) dropFirst(first string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(x.path, "/v2/"), first)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return false
	case rest == "" || rest == "/": // the version check
		x.path = "/v2/"
	case !x.registry.isHub():
		x.doubt = first
		return false
	case components(rest[1:]) < hubDepth:
		return false
	default:
		x.path = "/v2" + rest
	}
	return true
}

// namesUnknownHost reports whether a path for the default registry begins with
// what can only be another registry's name: no name space of Docker Hub has a
// dot or a port. A name of one component, "my.app", is a repository.
func namesUnknownHost(first, after string) bool {
	switch after, _, _ = strings.Cut(after, "/"); after {
	case "", "manifests", "blobs", "tags", "referrers":
		return false
	}
	return looksLikeHost(first)
}

// splitAPI cuts a path into the component before /v2, if there is one, and what
// begins there.
func splitAPI(escapedPath string) (prefix, path string, ok bool) {
	if isAPI(escapedPath) {
		return "", escapedPath, true
	}
	prefix, path = firstComponent(strings.TrimPrefix(escapedPath, "/"))
	path = "/" + path
	return prefix, path, prefix != "" && isAPI(path)
}

// isAPI reports whether a path is /v2 or below it; "/v2x" is not.
func isAPI(path string) bool {
	after, ok := strings.CutPrefix(path, "/v2")
	return ok && (after == "" || after[0] == '/')
}

// firstComponent cuts the first component off a relative path and decodes it:
// some clients write the port's colon as %3A.
func firstComponent(path string) (first, after string) {
	first, after, _ = strings.Cut(path, "/")
	if decoded, err := url.PathUnescape(first); err == nil {
		first = decoded
	}
	return first, after
}

// nsOf returns the ns parameter of a query, by which containerd and its kin say
// which registry they mean (distribution-spec, "Registry Proxying").
func nsOf(rawQuery string) string {
	if rawQuery == "" {
		return ""
	}
	if ns, ok := strings.CutPrefix(rawQuery, "ns="); ok && !strings.ContainsAny(ns, "&;%+") {
		return ns // what containerd sends
	}
	values, _ := url.ParseQuery(rawQuery) // what it could read; wire judges the rest
	return values.Get("ns")
}

// looksLikeHost reports whether a component can be a registry's host rather
// than the first part of a repository: the rule by which Docker reads image
// references.
func looksLikeHost(component string) bool {
	return component == "localhost" || strings.ContainsAny(component, ".:") && component[0] != '.'
}
