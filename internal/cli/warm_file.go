package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pullchain/pullchain/internal/warm"
)

// maxImageFile is how long a file of images may be. All manifests of a large
// cluster take a few MiB.
const maxImageFile = 32 << 20

// An imageRef is an image as a file names it.
type imageRef struct {
	text string
	line int
}

// looksLikeFile reports whether an argument is a file and no image: no image is
// named like that, and people forget the -f.
func looksLikeFile(arg string) bool {
	switch strings.ToLower(filepath.Ext(arg)) {
	case ".txt", ".yaml", ".yml", ".json":
		return true
	}
	return arg == "-"
}

// readImages reads the images of a file: "-" is standard input. notes are what
// people should know of it: what it names and was left out. The error joins one
// for each mistake, with file and line.
func (p Program) readImages(path string) (images []warm.Image, notes []string, err error) {
	name, data, err := p.readImageFile(path)
	if err != nil {
		return nil, nil, err
	}
	d := document{name: name, env: p.composeEnv(path)}
	d.read(data)
	slices.SortStableFunc(d.found, func(a, b imageRef) int { return cmp.Compare(a.line, b.line) })
	for _, m := range d.found {
		img, err := warm.ParseImage(m.text)
		if err != nil {
			d.fault(m.line, "%v", err)
			continue
		}
		img.From = fmt.Sprintf("%s:%d", name, m.line)
		images = append(images, img)
	}
	if len(images) == 0 && len(d.faults) == 0 && len(d.notes) == 0 {
		return nil, nil, fmt.Errorf("%s: there is no image in it", name)
	}
	return images, d.notes, errors.Join(d.faults...)
}

// readImageFile returns what is in a file or on standard input, and what to call it
// in errors. It is bounded, and must be text: a mistyped name may be a layer, or a
// disk.
func (p Program) readImageFile(path string) (name string, data []byte, err error) {
	name, in := path, p.Stdin
	if path == "-" {
		name = "stdin"
		if in == nil {
			in = strings.NewReader("")
		}
	} else {
		f, err := os.Open(path)
		if err != nil {
			return name, nil, err
		}
		defer f.Close()
		in = f
	}
	data, err = io.ReadAll(io.LimitReader(in, maxImageFile+1))
	switch {
	case err != nil:
	case len(data) > maxImageFile:
		err = fmt.Errorf("%s: longer than %d bytes", name, maxImageFile)
	case !utf8.Valid(data):
		err = fmt.Errorf("%s: not UTF-8 text", name)
	}
	return name, bytes.TrimPrefix(data, []byte("\ufeff")), err
}

// composeEnv returns the variables for a Compose file: those of the environment,
// then those of the .env file beside it. An empty variable of the environment
// counts as none.
func (p Program) composeEnv(path string) lookup {
	var file map[string]string
	return func(name string) (string, bool) {
		if value := p.Getenv(name); value != "" {
			return value, true
		}
		if file == nil {
			text, _ := os.ReadFile(filepath.Join(filepath.Dir(path), ".env")) // as a rule there is none
			file = dotEnv(string(text))
		}
		value, ok := file[name]
		return value, ok
	}
}

// A document is a file of images that is being read.
type document struct {
	name   string
	env    lookup // for Compose files
	braces bool   // there is a "{{" in it
	found  []imageRef
	notes  []string
	faults []error
}

func (d *document) fault(line int, format string, args ...any) {
	d.faults = append(d.faults, fmt.Errorf("%s:%d: %w", d.name, line, fmt.Errorf(format, args...)))
}

func (d *document) note(line int, format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf("%s:%d: %s", d.name, line, fmt.Sprintf(format, args...)))
}

// read finds out what kind of file it is, and reads it.
func (d *document) read(data []byte) {
	if isYAML(d.name, string(data)) {
		d.yaml(data)
		return
	}
	d.list(string(data))
}

// isYAML tells YAML and JSON from a list of images, by the name if that says it
// and else by the first line that is no comment.
func isYAML(name, text string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	case ".txt":
		return false
	}
	for line := range strings.Lines(text) {
		line = uncommented(line)
		if line == "" {
			continue
		}
		return strings.HasSuffix(line, ":") || strings.Contains(line, ": ") || strings.HasPrefix(line, "---") ||
			strings.HasPrefix(line, "{") || strings.HasPrefix(line, "%YAML")
	}
	return false
}

// list reads one image a line, with # comments.
func (d *document) list(text string) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = uncommented(line)
		switch {
		case line == "":
		case strings.ContainsAny(line, " \t"):
			d.fault(number, "one image a line, please")
		default:
			d.found = append(d.found, imageRef{line, number})
		}
	}
}

// uncommented returns a line without its comment. An image's name has no #.
func uncommented(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return strings.TrimSpace(line)
}
