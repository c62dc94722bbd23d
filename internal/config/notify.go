package config

import (
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/notify"
)

// fillNotify gives each webhook a name, and the egress that means none.
func (c *Config) fillNotify() {
	for i := range c.Notify {
		n := &c.Notify[i]
		fillString(&n.Name, n.Kind)
		fillString(&n.Egress, egress.Direct)
	}
}

// Webhooks returns the webhooks of [[notify]], each with its way out.
func (c *Config) Webhooks() []notify.Webhook {
	var out []notify.Webhook
	for _, n := range c.Notify {
		out = append(out, notify.Webhook{Config: n, Proxy: c.egressNamed(n.Egress)})
	}
	return out
}

// readNotify reads the files that webhooks name.
func (f *files) readNotify(cfg *Config) {
	for i := range cfg.Notify {
		n := &cfg.Notify[i]
		at := place{}.child("notify").item(i, n.Name)
		f.secret(at.child("url_file"), n.URLFile, &n.Address)
		f.secret(at.child("token_file"), n.TokenFile, &n.Token)
		f.secret(at.child("secret_file"), n.SecretFile, &n.Secret)
	}
}

// webhooks checks each webhook, and that people can tell them apart: the status and
// `pullchain notify test` know them by their names.
func (c *checker) webhooks(at place) {
	seen := map[string]bool{}
	for i, n := range c.cfg.Notify {
		here := at.item(i, n.Name)
		c.room(here, n.Validate())
		switch {
		case n.Name == "": // without a kind it has none, and the room has said so
		case !plainName.MatchString(n.Name):
			c.doc.blame(here.child("name"), "a name has letters, digits, dots and dashes only, 64 at most")
		case seen[n.Name]:
			c.doc.blame(here.child("name"), "another [[notify]] is called so: give each a name")
		}
		seen[n.Name] = true
		if _, ok := c.cfg.Egress[n.Egress]; !ok && n.Egress != egress.Direct && n.Egress != egress.Environment {
			c.noEgress(here.child("egress"), n.Egress)
		}
	}
}
