package policy

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/wire"
)

// Config is the [policy] table. Its zero value lets all be pulled.
//
// A rule is registry/repository, with :tag or @digest behind it if it is to speak of those
// alone. Each component may have the marks of path.Match (*, ?, [a-z]), which match no slash;
// the component ** matches any number of components. A rule matches the whole name.
type Config struct {
	// Deny is looked at first: the first rule that matches forbids. Then the first one of
	// Allow that matches permits; with an Allow that is not empty all else is forbidden.
	Allow []string `toml:"allow"`
	Deny  []string `toml:"deny"`

	// Pin has tags, as registry/repository:tag without marks, and the digests that they
	// mean here, whatever the registry says.
	Pin map[string]string `toml:"pin"`
}

// Validate reports every field that cannot be used, each by its name in the file.
func (c Config) Validate() error {
	var errs []error
	for i, text := range c.Deny {
		if _, err := parseRule("deny", text); err != nil {
			errs = append(errs, fmt.Errorf("deny: entry %d: %w", i+1, err))
		}
	}
	for i, text := range c.Allow {
		if _, err := parseRule("allow", text); err != nil {
			errs = append(errs, fmt.Errorf("allow: entry %d: %w", i+1, err))
		}
	}
	for _, text := range slices.Sorted(maps.Keys(c.Pin)) {
		r, err := parseRule("pin", text)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("pin: %w", err))
		case r.tag == "" || strings.ContainsAny(text, `*?[\`):
			errs = append(errs, fmt.Errorf("pin: %q is not one tag, as in \"docker.io/library/redis:7\"", text))
		}
		if _, err := wire.CheckDigest(c.Pin[text]); err != nil {
			errs = append(errs, fmt.Errorf("pin: %q is no digest, as in \"sha256:…\": %w", c.Pin[text], err))
		}
	}
	return errors.Join(errs...)
}

// IsZero reports whether nothing is said.
func (c Config) IsZero() bool { return len(c.Allow)+len(c.Deny)+len(c.Pin) == 0 }

// Registries returns what the rules begin with, where that has no mark: names or aliases of registries.
func (c Config) Registries() []string {
	var names []string
	for _, text := range slices.Concat(c.Deny, c.Allow, slices.Sorted(maps.Keys(c.Pin))) {
		if first, _, ok := strings.Cut(text, "/"); ok && !strings.ContainsAny(first, `*?[\`) {
			names = append(names, first)
		}
	}
	return names
}

// A rule is one entry, read.
type rule struct {
	list  string // deny, allow or pin
	text  string // as it is in the file
	names []string
	tag   string // "": it speaks of no tag
	sum   string // "": it speaks of no digest
}

// parseRule reads an entry of list.
func parseRule(list, text string) (rule, error) {
	r := rule{list: list, text: text}
	name, sum, bySum := strings.Cut(text, "@")
	slash := strings.LastIndexByte(name, '/')
	if colon := strings.LastIndexByte(name, ':'); colon > slash && slash >= 0 {
		name, r.tag = name[:colon], name[colon+1:]
		if r.tag == "" {
			return r, fmt.Errorf("%q has no tag behind its colon", text)
		}
	}
	r.sum = strings.ToLower(sum)
	switch {
	case bySum && sum == "":
		return r, fmt.Errorf("%q has no digest behind its @", text)
	case r.tag != "" && r.sum != "":
		return r, fmt.Errorf("%q has a tag and a digest; a request has one of them", text)
	}
	r.names = strings.Split(strings.ToLower(name), "/")
	first := r.names[0]
	if first != "**" && (len(r.names) < 2 || !strings.ContainsAny(first, `.:*?[`) && first != "localhost") {
		return r, fmt.Errorf("%q does not begin with a registry, as \"docker.io/library/redis:7\" does", text)
	}
	for _, glob := range append([]string{r.tag, r.sum}, r.names...) {
		if _, err := path.Match(glob, ""); err != nil {
			return r, fmt.Errorf("%q: %w", text, err)
		}
	}
	if slices.Contains(r.names, "") {
		return r, fmt.Errorf("%q has an empty component", text)
	}
	return r, nil
}

// matchesName reports whether the components of a name are those of the rule.
func (r rule) matchesName(name []string) bool { return matches(r.names, name) }

// matches is path.Match for components, with ** for any number of them.
func matches(globs, name []string) bool {
	for len(globs) > 0 {
		if globs[0] == "**" {
			for i := range len(name) + 1 {
				if matches(globs[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, _ := path.Match(globs[0], name[0]); !ok {
			return false
		}
		globs, name = globs[1:], name[1:]
	}
	return len(name) == 0
}

// matchesTag reports whether a tag is the rule's. What is denied is so in any case, for a
// registry may tell none apart; what is allowed is so as it is written.
func (r rule) matchesTag(tag string) bool {
	glob := r.tag
	if r.list != "allow" {
		glob, tag = strings.ToLower(glob), strings.ToLower(tag)
	}
	ok, _ := path.Match(glob, tag)
	return ok
}

func (r rule) matchesSum(sum string) bool {
	ok, _ := path.Match(r.sum, sum)
	return r.sum != "" && ok
}
