package cli

import (
	"errors"
	"fmt"
	"strings"
)

// A lookup finds a variable: what it is, and whether it is set.
type lookup func(name string) (value string, ok bool)

// expand fills in the variables of a value in a Compose file: $VAR, ${VAR},
// ${VAR:-default}, ${VAR-default}, ${VAR:?error}, ${VAR?error}, ${VAR:+other},
// ${VAR+other} and $$ (compose-spec, "Interpolation"). What Compose warns of, a
// variable that is not set, is an error here: half a name is no image.
func expand(s string, env lookup) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		value, after, err := variable(rest, env)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		s = after
	}
}

// variable returns the value of what stands behind a $, and what follows it.
func variable(s string, env lookup) (value, after string, err error) {
	if after, ok := strings.CutPrefix(s, "$"); ok {
		return "$", after, nil
	}
	if inner, ok := strings.CutPrefix(s, "{"); ok {
		inner, after, ok := closed(inner)
		if !ok {
			return "", "", errors.New("${ without }")
		}
		value, err := braced(inner, env)
		return value, after, err
	}
	name, after := cutName(s)
	if name == "" {
		return "", "", errors.New("$ without a variable; a plain $ is written $$")
	}
	value, ok := env(name)
	if !ok {
		return "", "", unset(name)
	}
	return value, after, nil
}

// closed cuts s behind the brace that closes it.
func closed(s string) (inner, after string, ok bool) {
	// Defaults may have variables of their own, as in ${A:-${B}}.
	depth := 1
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "${"):
			depth++
			i++
		case s[i] == '}':
			if depth--; depth == 0 {
				return s[:i], s[i+1:], true
			}
		}
	}
	return "", "", false
}

// braced returns the value of what stands between the braces.
func braced(s string, env lookup) (string, error) {
	name, rest := cutName(s)
	if name == "" {
		return "", fmt.Errorf("${%s} names no variable", s)
	}
	value, ok := env(name)
	// With a colon an empty variable counts as one that is not set.
	rest, colon := strings.CutPrefix(rest, ":")
	there := ok && (!colon || value != "")
	operator, operand := "", ""
	if rest != "" {
		operator, operand = rest[:1], rest[1:]
	}
	switch {
	case operator == "" && !colon:
		if !ok {
			return "", unset(name)
		}
		return value, nil
	case operator == "-" && !there, operator == "+" && there:
		return expand(operand, env)
	case operator == "+":
		return "", nil
	case operator == "?" && !there:
		return "", fmt.Errorf("%w: %s", unset(name), operand)
	case operator == "-", operator == "?":
		return value, nil
	}
	return "", fmt.Errorf("${%s} is none of Compose's forms", s)
}

func unset(name string) error { return fmt.Errorf("the variable %s is not set", name) }

// cutName cuts the name of a variable off: [A-Za-z_][A-Za-z0-9_]*.
func cutName(s string) (name, rest string) {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// dotEnv reads the variables of an .env file: NAME=value lines, with quotes
// around the value if need be. What it cannot read, it leaves out: Compose itself
// will complain.
func dotEnv(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || strings.HasPrefix(name, "#") {
			continue
		}
		value = strings.TrimSpace(value)
		if quote := value; len(quote) > 1 && (quote[0] == '\'' || quote[0] == '"') {
			if end := strings.IndexByte(value[1:], value[0]); end >= 0 {
				out[name] = value[1 : 1+end]
				continue
			}
		}
		if i := strings.Index(value, " #"); i >= 0 {
			value = strings.TrimSpace(value[:i])
		}
		out[name] = value
	}
	return out
}
