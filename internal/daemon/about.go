package daemon

import (
	"fmt"
	"strings"

	"github.com/pullchain/pullchain/internal/admin"
)

// Config returns the configuration in force, for people to read.
func (d *Daemon) Config() admin.ConfigDocument {
	d.mu.Lock()
	loaded := d.reload.loaded
	cfg := d.chain.Load().cfg
	d.mu.Unlock()
	doc := admin.ConfigDocument{Source: d.opts.Source, LoadedAt: loaded, Settings: []admin.Setting{}, Warnings: append([]string{}, cfg.Warnings...)}
	var text strings.Builder
	_ = cfg.Show(&text, true) // a Builder takes all
	doc.TOML = text.String()
	for _, s := range cfg.Settings() {
		origin := "default"
		if s.Line > 0 {
			origin = fmt.Sprintf("%s:%d", cfg.File, s.Line)
		}
		doc.Settings = append(doc.Settings, admin.Setting{Key: s.Key, Value: s.Value, Origin: origin})
	}
	return doc
}
