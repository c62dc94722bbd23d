package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// versionCmd is `version`.
type versionCmd struct{}

// A build is what the binary knows of its own making.
type build struct {
	Schema   int    `json:"schema"`
	Version  string `json:"version"`
	Revision string `json:"revision"` // empty if it was not built from a checkout
	Time     string `json:"time"`     // of the revision
	Modified bool   `json:"modified"` // the checkout had changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

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

// thisBuild reads what the Go command has left in the binary, so that no build script
// has to pass a version in. "go run" and tests leave no version: that is "devel".
func thisBuild() build {
	b := build{Schema: 1, Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = strings.TrimPrefix(v, "v")
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// json writes v for programs.
func (a *app) json(v any) error {
	e := json.NewEncoder(a.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
