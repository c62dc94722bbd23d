package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// rows is the table of rooms, top first (docs/architecture.md, Rooms). A package imports
// only packages of lower rows; those in one row never meet but in tests.
// A new room gets a place here first; a package below one belongs to it.
var rows = [][]string{
	{"cmd/pullchain", "internal/bench"}, // the programs
	{"internal/cli"},
	{"internal/daemon"},
	{"internal/config"},
	{"internal/dashboard", "internal/metrics", "internal/notify", "internal/otlp"}, // what is made of the operator's plane
	{"internal/admin", "internal/doctor"},
	{"internal/diagnose"},
	{"internal/front", "balancer", "upstreams", "internal/cache", "internal/policy", "healthcheck"}, // the links of the chain
	{"internal/fill"},
	{"internal/regauth"},
	{"internal/access", "internal/egress", "internal/blobstore", "internal/logsink", "internal/holdback", "internal/messages", "internal/openfiles", "internal/terminal", "internal/history", "internal/traffic", "internal/warm", "internal/credhelper", "internal/setup"},
	{"internal/wire", "internal/safefile", "internal/guard", "internal/snooze", "internal/lapse", "internal/amount", "internal/keypair"},
	{"."}, // package pullchain
}

// beside stands next to the rows and imports nothing of ours. Tests may import
// it, and the packages listed.
var beside = map[string][]string{
	"internal/simnet":    {"internal/cli", "internal/bench"}, // pullchain demo; the internet that is measured over
	"internal/quirks":    nil,                                // what registries do that no specification says
	"internal/golden":    nil,                                // compares texts with files
	"internal/leaktest":  nil,                                // every package's TestMain
	"internal/clocktest": nil,                                // times of a clock that was set
}

// testsOnly are packages without code of their own.
var testsOnly = []string{"internal/archtest", "internal/e2e", "examples"}

// onlyStd are rooms that know nothing of ours although a lower row has something.
var onlyStd = []string{"healthcheck", "internal/access", "internal/logsink", "internal/holdback", "internal/messages", "internal/openfiles", "internal/setup", "internal/terminal", "internal/safefile", "internal/guard", "internal/snooze", "internal/lapse", "internal/amount", "internal/keypair"}

func TestImportsGoDown(t *testing.T) {
	t.Parallel()
	hold(t, importsGoDown)
}

// importsGoDown checks the imports of code; tests may import sideways, since
// siblings have to meet somewhere.
func importsGoDown(files []*file) []string {
	var faults []string
	for _, f := range files {
		if f.isTest() {
			continue
		}
		if row(f.dir) < 0 && !isBeside(f.dir) && !isTestsOnly(f.dir) {
			faults = append(faults, fmt.Sprintf("%s: %s is in no row: give it a place in the table", f.path, f.dir))
			continue
		}
		for _, imported := range f.imports {
			dir, ours := inModule(imported)
			if !ours {
				continue
			}
			if why := refusal(f.dir, dir); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", f.path, dir, why))
			}
		}
	}
	return faults
}

// refusal says why code in one directory may not import the other, or nothing.
func refusal(from, to string) string {
	switch {
	case isTestsOnly(from):
		return "a package of tests has no code"
	case isBeside(from):
		return "it stands beside the chain and imports nothing of ours"
	case isBeside(to):
		if slices.Contains(beside[to], from) {
			return ""
		}
		return "only tests may"
	case room(from) == room(to) && from != to:
		return ""
	case slices.Contains(onlyStd, room(from)):
		return "it knows nothing of registries"
	case row(to) < 0:
		return "it is in no row"
	case row(from) == row(to):
		return "siblings never import each other"
	case row(from) > row(to):
		return "imports go only downward"
	}
	return ""
}

// row returns the row of dir's room, counted from the top, or -1.
func row(dir string) int {
	return slices.IndexFunc(rows, func(row []string) bool { return slices.Contains(row, room(dir)) })
}

// room returns the room that dir is or lies in, or nothing.
func room(dir string) string {
	for _, row := range rows {
		for _, name := range row {
			if dir == name || strings.HasPrefix(dir, name+"/") {
				return name
			}
		}
	}
	return ""
}

func isBeside(dir string) bool { _, ok := beside[dir]; return ok }

func isTestsOnly(dir string) bool {
	return slices.ContainsFunc(testsOnly, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") })
}

// inModule returns the directory of an import of ours.
func inModule(imported string) (dir string, ours bool) {
	if imported == modulePath {
		return ".", true
	}
	return strings.CutPrefix(imported, modulePath+"/")
}

// A fence keeps an import inside some packages; none means nowhere at all.
type fence struct {
	imported string // a path; with a slash at the end also all below it
	inside   []string
	why      string
}

var fences = []fence{
	{"github.com/sony/gobreaker/", []string{"balancer"}, "lanes alone have breakers"},
	{"github.com/prometheus/client_golang/", []string{"internal/metrics"}, "metrics are one room"},
	{"code.dny.dev/ssrf/", []string{"internal/egress"}, "one guard decides what may be dialled"},
	{"net/http/httputil", nil, "ReverseProxy copies headers and retries on its own; a pull is built from scratch (docs/faults.md 6)"},
}

func (f fence) covers(imported string) bool {
	top, below := strings.CutSuffix(f.imported, "/")
	return imported == top || below && strings.HasPrefix(imported, f.imported)
}

// modules says what else than the standard library some packages may import.
var modules = map[string][]string{
	".":                 {"github.com/opencontainers/go-digest"},
	"internal/wire":     {"github.com/opencontainers/go-digest"},
	"internal/simnet":   {"github.com/opencontainers/go-digest"},
	"internal/holdback": {"github.com/opencontainers/go-digest"},
	"healthcheck":       nil,
}

func TestFences(t *testing.T) {
	t.Parallel()
	hold(t, fenced)
}

func fenced(files []*file) []string {
	var faults []string
	for _, f := range files {
		for _, imported := range f.imports {
			if why := fencedOff(f, imported); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", f.path, imported, why))
			}
		}
	}
	return faults
}

func fencedOff(f *file, imported string) string {
	for _, fence := range fences {
		if fence.covers(imported) && !slices.Contains(fence.inside, f.dir) {
			return fence.why
		}
	}
	allowed, pure := modules[f.dir]
	_, ours := inModule(imported)
	if pure && !f.isTest() && !ours && !isStd(imported) && !slices.Contains(allowed, imported) {
		return "the standard library and " + strings.Join(append(allowed, "nothing else"), ", ")
	}
	return ""
}

// isStd tells the standard library by the missing dot in its first element.
func isStd(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func TestImportRulesBite(t *testing.T) {
	t.Parallel()
	imports := func(from string, packages ...string) []source {
		return []source{{from, "package p\nimport (\n\"" + strings.Join(packages, "\"\n\"") + "\"\n)\n"}}
	}
	const m = modulePath
	bites(t, importsGoDown, []bite{
		{"down", imports("internal/daemon/a.go", "fmt", m, m+"/balancer", m+"/internal/wire"), nil},
		{"up", imports("balancer/a.go", m+"/internal/daemon"), []string{"downward"}},
		{"root up", imports("a.go", m+"/internal/wire"), []string{"downward"}},
		{"sideways", imports("balancer/a.go", m+"/upstreams"), []string{"siblings"}},
		{"itself", imports("balancer/a.go", m+"/balancer"), []string{"siblings"}},
		{"test sideways", imports("balancer/a_test.go", m+"/upstreams", m+"/internal/simnet"), nil},
		{"own part", imports("internal/admin/a.go", m+"/internal/admin/phrase"), nil},
		{"part imports down and its room", imports("internal/admin/phrase/a.go", m, m+"/internal/admin"), nil},
		{"sibling's part", imports("balancer/a.go", m+"/upstreams/part"), []string{"siblings"}},
		{"part up", imports("internal/admin/phrase/a.go", m+"/internal/daemon"), []string{"downward"}},
		{"like a room", imports("internal/cliff/a.go", m), []string{"no row"}},
		{"no row", imports("internal/newroom/a.go", "fmt"), []string{"no row"}},
		{"import of no row", imports("internal/cli/a.go", m+"/internal/newroom"), []string{"no row"}},
		{"simnet in code", imports("internal/daemon/a.go", m+"/internal/simnet"), []string{"only tests"}},
		{"simnet in the demo", imports("internal/cli/a.go", m+"/internal/simnet"), nil},
		{"simnet in the benchmark", imports("internal/bench/a.go", m+"/internal/simnet", m+"/internal/cli"), nil},
		{"the benchmark in code", imports("internal/cli/a.go", m+"/internal/bench"), []string{"downward"}},
		{"simnet in main", imports("cmd/pullchain/a.go", m+"/internal/simnet"), []string{"only tests"}},
		{"leaktest in code", imports("internal/front/a.go", m+"/internal/leaktest"), []string{"only tests"}},
		{"leaktest in a test", imports("healthcheck/a_test.go", m+"/internal/leaktest"), nil},
		{"simnet imports ours", imports("internal/simnet/a.go", m), []string{"beside"}},
		{"healthcheck", imports("healthcheck/a.go", m), []string{"knows nothing"}},
		{"code of tests", imports("internal/e2e/a.go", m), []string{"no code"}},
		{"two faults", imports("internal/wire/a.go", m+"/internal/regauth", m+"/balancer"), []string{"downward", "downward"}},
	})
	bites(t, fenced, []bite{
		{"gobreaker in balancer", imports("balancer/a.go", "github.com/sony/gobreaker/v2"), nil},
		{"gobreaker elsewhere", imports("internal/daemon/a.go", "github.com/sony/gobreaker/v2"), []string{"lanes"}},
		{"gobreaker in a test elsewhere", imports("internal/daemon/a_test.go", "github.com/sony/gobreaker/v2"), []string{"lanes"}},
		{"metrics", imports("internal/metrics/a.go", "github.com/prometheus/client_golang/prometheus"), nil},
		{"metrics elsewhere", imports("balancer/a.go", "github.com/prometheus/client_golang/prometheus"), []string{"metrics are"}},
		{"httputil", imports("internal/front/a_test.go", "net/http/httputil"), []string{"ReverseProxy"}},
		{"pure", imports("internal/wire/a.go", "github.com/opencontainers/go-digest", "net/http", m), nil},
		{"not pure", imports("internal/wire/a.go", "golang.org/x/net/publicsuffix"), []string{"nothing else"}},
		{"test of pure", imports("internal/wire/a_test.go", "github.com/google/go-cmp/cmp"), nil},
	})
}
