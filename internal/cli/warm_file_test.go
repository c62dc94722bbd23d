package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/warm"
)

// reader is an app that reads files in an environment of NAME=value.
func reader(stdin string, env ...string) *app {
	return &app{Program: Program{Stdin: strings.NewReader(stdin), Stdout: io.Discard, Stderr: io.Discard, Getenv: func(name string) string {
		for _, e := range env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value
			}
		}
		return ""
	}}}
}

func names(images []warm.Image) []string {
	var out []string
	for _, i := range images {
		out = append(out, i.String())
	}
	return out
}

const pauseDigest = "sha256:4cb2b9019f1757be8482419002cb7afe028fdba35d47958829e4cfeaf6246d80"

func TestReadImages(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file, stdin  string
		env          []string
		want         []string
		notes, fault []string // what each must contain
	}{
		{file: "images.txt", want: []string{
			"docker.io/library/alpine:latest", "docker.io/library/alpine:3.20", "ghcr.io/owner/app:v1",
			"quay.io/prometheus/node-exporter@" + pauseDigest, "registry.k8s.io/pause@" + pauseDigest, "localhost:5000/mine:1",
		}},
		{file: "compose.yaml", env: []string{"NGINX=1.27", "CRON_IMAGE=cron:2"}, want: []string{
			"ghcr.io/shop/worker:stable", "ghcr.io/shop/worker:stable", "docker.io/library/postgres:17",
			"docker.io/library/nginx:1.27", "docker.io/library/cron:2",
		}, notes: []string{"compose.yaml:18: service web is built"}},
		{file: "compose.yaml", env: []string{"MIRROR=quay.io", "TAG=v2", "PG_VERSION=16-alpine", "NGINX=1"}, want: []string{
			"docker.io/library/postgres:16-alpine", "ghcr.io/shop/worker:v2", "quay.io/library/nginx:1", "ghcr.io/shop/worker:v2",
		}, notes: []string{"service web"}, fault: []string{"compose.yaml:24: image ${CRON_IMAGE:?which one}: the variable CRON_IMAGE is not set: which one"}},
		{file: "kubernetes.yaml", want: []string{
			"docker.io/library/busybox:1.36", "ghcr.io/owner/app:v1", "ghcr.io/owner/side:v2", "docker.io/nicolaka/netshoot:latest",
			"quay.io/models/tiny:1", "docker.io/library/alpine:3.20", "docker.io/library/nginx:1.27", "docker.io/library/nginx:1.28",
		}},
		{file: "kubernetes.json", want: []string{"quay.io/cilium/cilium:v1.16.1"}},
		{file: "helm.yaml", fault: []string{"helm.yaml:1: this looks like a template; render it first, as in: helm template CHART | pullchain cache warm -f -"}},
		{file: "helm-parses.yaml", fault: []string{"helm-parses.yaml:6: image: this looks like a template", "helm-parses.yaml:8: image: this looks like a template"}},
		{file: "values.yaml", fault: []string{"values.yaml:1: neither a Compose file"}},
		{file: "-", stdin: "alpine\r\n\r\n# no\r\nbusybox\r\n", want: []string{"docker.io/library/alpine:latest", "docker.io/library/busybox:latest"}},
		{file: "-", stdin: "\ufeff# helm template\n---\napiVersion: v1\nkind: Pod\nspec: {containers: [{image: pause}]}\n", want: []string{"docker.io/library/pause:latest"}},
		{file: "-", stdin: "services:\n  a: {image: \"a:$$\"}\n  b: {image: 7}\n  c:\n  d: {image: null}\n  e: [image]\n", want: []string{"docker.io/library/7:latest"},
			fault: []string{"stdin:6: service e", `stdin:2: "a:$" is no image: invalid reference format`}},
		{file: "-", stdin: "services: {a: {image: a}}\ninclude: [other.yaml]\n", want: []string{"docker.io/library/a:latest"}, notes: []string{"stdin:2: include"}},
		{file: "-", stdin: "alpine\nalpine 3.20\nhttps://quay.io/a\nUPPER\nquay.io/a@sha512:00\n", want: []string{"docker.io/library/alpine:latest"}, fault: []string{
			"stdin:2: one image a line", `stdin:3: "https://quay.io/a" is a URL, and an image is named like "quay.io/a"`, `stdin:4: "UPPER" is no image: `, `stdin:5: "quay.io/a@sha512:00" is no image`}},
		{file: "-", stdin: "a: [\nb: }", fault: []string{"stdin:1: did not find"}},
		{file: "-", stdin: "apiVersion: v1\nkind: Pod\nspec:\n\tcontainers: []\n", fault: []string{"stdin:4: found character that cannot start any token"}},
		{file: "-", stdin: " # nothing\n", fault: []string{"stdin: there is no image in it"}},
		{file: "-", stdin: "apiVersion: v1\nkind: Secret\n", fault: []string{"stdin: there is no image in it"}},
		{file: "-", stdin: "\xff\xfea\x00", fault: []string{"stdin: not UTF-8 text"}},
		{file: "no.yaml", fault: []string{"no such file"}},
	}
	for _, tt := range tests {
		path := tt.file
		if path != "-" {
			path = filepath.Join("testdata", "warm", path)
		}
		images, notes, err := reader(tt.stdin, tt.env...).readImages(path)
		got := names(images)
		if diff := cmp.Diff(tt.want, got); diff != "" && err == nil {
			t.Errorf("%s %q (-want +got):\n%s", tt.file, tt.stdin, diff)
		}
		var faults []string
		if err != nil {
			faults = strings.Split(err.Error(), "\n")
		}
		contained(t, tt.file+" "+tt.stdin+" faults", faults, tt.fault)
		contained(t, tt.file+" "+tt.stdin+" notes", notes, tt.notes)
	}
}

// contained compares texts with a part of each.
func contained(t *testing.T, what string, got, want []string) {
	t.Helper()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.Contains(got[i], want[i])
	}
	if !ok {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// Where an image was read is told when it fails, much later.
func TestReadImagesRemembersWhere(t *testing.T) {
	t.Parallel()
	images, _, err := reader("\nalpine\n").readImages("-")
	if err != nil || len(images) != 1 || images[0].From != "stdin:2" {
		t.Errorf("got %+v, %v", images, err)
	}
}

// Compose reads the .env beside the file, and the environment stands above it.
func TestComposeEnv(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "compose.yaml")
	for name, text := range map[string]string{
		path:                       "services:\n  a: {image: \"a:$A\"}\n  b: {image: \"b:$B\"}\n  c: {image: \"c:$C\"}\n  d: {image: \"d:${D-x}\"}\n",
		filepath.Join(dir, ".env"): "# versions\nA=1 # the first\nexport B = 'two'\nC=\"3\" # third\nnonsense\nD=4\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	images, _, err := reader("", "C=30").readImages(path)
	want := []string{"docker.io/library/a:1", "docker.io/library/b:two", "docker.io/library/c:30", "docker.io/library/d:4"}
	if diff := cmp.Diff(want, names(images)); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		value, ok := map[string]string{"A": "a", "EMPTY": "", "_x1": "x"}[name]
		return value, ok
	}
	for in, want := range map[string]string{
		"plain":                   "plain",
		"$A":                      "a",
		"$A-$A.b":                 "a-a.b",
		"${A}b$_x1":               "abx",
		"$$A$$":                   "$A$",
		"${NO:-d}${NO-d}":         "dd",
		"${EMPTY:-d}|${EMPTY-d}":  "d|",
		"${NO:-}":                 "",
		"${NO:-${A}/${B:-$$c}}/e": "a/$c/e",
		"${A:+y}${NO+y}":          "y",
		"${EMPTY:+y}|${EMPTY+y}":  "|y",
		"${A:?is missing}":        "a",
		"${NO:-a:b?c+d}":          "a:b?c+d",
		"$NO":                     "! the variable NO is not set",
		"${NO}":                   "! the variable NO is not set",
		"${NO:?say it}":           "! the variable NO is not set: say it",
		"${EMPTY:?say it}":        "! the variable EMPTY is not set: say it",
		"${EMPTY?say it}":         "",
		"${NO:-$ALSO}":            "! the variable ALSO is not set",
		"${A":                     "! ${ without }",
		"${NO:-${A}":              "! ${ without }",
		"${}":                     "! ${} names no variable",
		"${A:}":                   "! ${A:} is none of Compose's forms",
		"${A%x}":                  "! ${A%x} is none of Compose's forms",
		"a$":                      "! $ without a variable; a plain $ is written $$",
		"$1":                      "! $ without a variable; a plain $ is written $$",
	} {
		got, err := expand(in, env)
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLooksLikeFile(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]bool{"-": true, "a.txt": true, "k8s/all.YML": true, "compose.yaml": true, "x.json": true, "alpine": false, "alpine:3.20": false, "quay.io/a/b": false} {
		if got := looksLikeFile(arg); got != want {
			t.Errorf("looksLikeFile(%q) = %v", arg, got)
		}
	}
}

// lineBreak is what ends a line to a parser of YAML (1.1, 4.2).
var lineBreak = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// Whatever a file holds, it is read in time, and what comes out can be asked for.
func FuzzReadImages(f *testing.F) {
	f.Add([]byte("0: 00000000\n1: 0000000\nservices:   \r\r 00:\n   image: 00"), false)
	for _, name := range []string{"images.txt", "compose.yaml", "kubernetes.yaml", "kubernetes.json", "helm.yaml", "values.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", "warm", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Add([]byte("services: &s {a: {image: a, <<: *s}}"), true)
	f.Add([]byte("a: &a [*a]\napiVersion: v1\nkind: x"), true)
	f.Add([]byte("apiVersion: v1\nkind: x\na: &a {containers: &b [*a, *b, {image: *a}], volumes: [{image: *b}]}"), true)
	f.Fuzz(func(t *testing.T, data []byte, asYAML bool) {
		d := document{name: "f", env: func(name string) (string, bool) { return name, len(name)%2 == 0 }}
		if asYAML {
			d.yaml(data)
		} else {
			d.read(data)
		}
		lines := len(lineBreak.FindAll(data, -1)) + 2
		for _, m := range d.found {
			if m.line < 1 || m.line > lines {
				t.Errorf("line %d of %d", m.line, lines)
			}
			img, err := warm.ParseImage(m.text)
			if err != nil {
				continue
			}
			again, err := warm.ParseImage(img.String())
			if err != nil || again != img {
				t.Errorf("%q is %+v, and that is %+v, %v", m.text, img, again, err)
			}
		}
	})
}
