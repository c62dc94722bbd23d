package cli

import (
	"encoding/json"
	"fmt"

	"github.com/pullchain/pullchain/internal/admin"
)

// versionCmd is `version`.
type versionCmd struct{}

// Run prints what this binary is.
func (versionCmd) Run(a *app) error {
	b := thisBuild()
	if a.flags.Output == "json" {
		return a.json(b)
	}
	fmt.Fprintf(a.Stdout, "pullchain %s\n", b.Version)
	if b.Revision != "" {
		a.say("version.revision", "revision", b.Revision, "time", b.Time)
	}
	if b.Modified {
		a.say("version.modified")
	}
	fmt.Fprintf(a.Stdout, "%s %s\n", b.Go, b.Platform)
	return nil
}

// thisBuild is what this binary is.
func thisBuild() admin.Build { return admin.ThisBuild() }

// json writes v for programs.
func (a *app) json(v any) error {
	e := json.NewEncoder(a.Stdout)
	if !a.lines {
		e.SetIndent("", "  ")
	}
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
