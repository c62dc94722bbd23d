package config

import (
	"slices"
	"strings"
)

// policy checks [policy]. A rule of a registry that is not served does nothing, and is more
// often a slip of the pen than a plan.
func (c *checker) policy(at place) {
	c.room(at, c.cfg.Policy.Validate())
	for _, name := range c.cfg.Policy.Registries() {
		if !c.cfg.ServesAny() && !c.serves(c.cfg.RegistryOf(name)) {
			c.doc.warn(at, "a rule begins with %q, which is no [[registry]] here", name)
		}
	}
}

// RegistryOf returns the name of the registry that a name or an alias means; another word is returned
// in the spelling in which all forms of it are the same.
func (c *Config) RegistryOf(name string) string {
	name = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(name), ":443"), ".")
	for _, r := range c.Registries {
		if strings.EqualFold(r.Name, name) || slices.ContainsFunc(r.Aliases, func(a string) bool { return strings.EqualFold(a, name) }) {
			return r.Name
		}
	}
	for owner, names := range ownNames { // one that only a block for any registry serves
		if slices.Contains(names, name) {
			return owner
		}
	}
	return name
}
