package config

import (
	"fmt"
	"strings"
)

// expand replaces each ${NAME} in s by the variable of that name. It is done
// once: what a variable holds is not expanded again. "$${" stands for "${", and
// any other dollar for itself.
func expand(s string, env func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "${")
		if !ok {
			b.WriteString(s)
			return b.String(), nil
		}
		// The escape is looked for only before "${": a password with a dollar in it
		// stays as it is.
		if literal, escaped := strings.CutSuffix(before, "$"); escaped {
			b.WriteString(literal + "${")
			s = rest
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || !isVariable(name) {
			return "", fmt.Errorf("after ${ a variable's name and } should follow; for a plain ${ write $${")
		}
		value, set := lookup(env, name)
		if !set {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		b.WriteString(before + value)
		s = after
	}
}

// lookup is env, where nil knows no variable.
func lookup(env func(string) (string, bool), name string) (string, bool) {
	if env == nil {
		return "", false
	}
	return env(name)
}

// isVariable reports whether s is a name that a shell would let one set.
func isVariable(s string) bool {
	for i, r := range s {
		digit := r >= '0' && r <= '9'
		if !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_' || digit && i > 0) {
			return false
		}
	}
	return s != ""
}
