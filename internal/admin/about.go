package admin

import (
	_ "embed"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// aboutRoutes are what the program and its configuration are.
var aboutRoutes = []route{
	{
		method: http.MethodGet, path: "/api/v1/version", serve: showVersion,
		doc: doc{id: "version", about: "What this binary is.", answer: Build{}},
	},
	{
		method: http.MethodGet, path: "/api/v1/config", serve: showConfig,
		doc: doc{id: "config", about: "The configuration in force: without secrets, and with where each setting comes from.", answer: ConfigDocument{}, problems: []string{"not_found"}},
	},
	{
		method: http.MethodGet, path: "/api/v1/openapi.json", serve: showOpenAPI,
		doc: doc{id: "openapi", about: "This document.", media: "application/vnd.oai.openapi+json"},
	},
}

// A Build is what a binary knows of its own making.
type Build struct {
	Schema   int    `json:"schema"` // the constant Schema
	Version  string `json:"version"`
	Revision string `json:"revision"` // empty if it was not built from a checkout
	Time     string `json:"time"`     // of the revision
	Modified bool   `json:"modified"` // the checkout had changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// ThisBuild reads what the Go command has left in the binary, so that no build script
// has to pass a version in. "go run" and tests leave no version: that is "devel".
func ThisBuild() Build {
	b := Build{Schema: Schema, Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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

// A ConfigDocument is a configuration as it is in force.
type ConfigDocument struct {
	Schema   int       `json:"schema"`    // the constant Schema
	Source   string    `json:"source"`    // a path, or "embedded"
	LoadedAt time.Time `json:"loaded_at"` // when it came into force
	TOML     string    `json:"toml"`      // all of it, with defaults filled in and secrets as "***"
	Settings []Setting `json:"settings"`  // the same, one by one
	Warnings []string  `json:"warnings"`  // what is allowed but should not be so
}

// A Setting is one key of a ConfigDocument.
type Setting struct {
	Key    string `json:"key"`    // as in registry[0].upstream[1].url
	Value  string `json:"value"`  // as TOML
	Origin string `json:"origin"` // "/etc/pullchain/pullchain.toml:12", or "default"
}

func showVersion(h *handler, w http.ResponseWriter, r *http.Request) { answer(w, r, ThisBuild()) }

func showConfig(h *handler, w http.ResponseWriter, r *http.Request) {
	if h.Sources.Config == nil {
		problem(w, r, http.StatusNotFound, "not_found", "there is no configuration to be shown")
		return
	}
	doc := h.Sources.Config()
	doc.Schema = Schema
	answer(w, r, doc)
}

// openAPIDocument is what programs and their authors read of the routes. It is made from
// their table, by a test: go test ./internal/admin -run TestOpenAPI -update
//
//go:embed openapi.json
var openAPIDocument []byte

func showOpenAPI(h *handler, w http.ResponseWriter, r *http.Request) {
	send(w, r, http.StatusOK, "application/vnd.oai.openapi+json; version=3.1", openAPIDocument)
}
