package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
)

// configCmd groups what there is to do with a configuration file.
type configCmd struct {
	Init     configInitCmd     `cmd:"" help:"${help_config_init}"`
	Validate configValidateCmd `cmd:"" help:"${help_config_validate}"`
	Show     configShowCmd     `cmd:"" help:"${help_config_show}"`
}

// configValidateCmd is `config validate`.
type configValidateCmd struct {
	File string `arg:"" optional:"" help:"${help_config_file}"`
}

// configInitCmd is `config init`.
type configInitCmd struct {
	File string `arg:"" optional:"" default:"pullchain.toml" help:"${help_config_init_file}"`
}

// Run writes a file to begin with. One that is there stays as it is.
func (c configInitCmd) Run(a *app) error {
	if c.File == "-" {
		_, err := a.Stdout.Write(config.Template)
		return err
	}
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return errors.New(a.messages.Text("config.exists", "file", c.File))
	}
	if err != nil {
		return err
	}
	_, err = f.Write(config.Template)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	a.say("config.written", "file", c.File)
	return nil
}

// loadConfig reads the configuration that the command line means.
func (a *app) loadConfig() (*config.Config, error) {
	return config.Load(config.Find(a.flags.ConfigFile, a.Getenv))
}

// A validation is the answer of `config validate -o json`.
type validation struct {
	Schema   int       `json:"schema"`
	OK       bool      `json:"ok"`
	File     string    `json:"file"`
	Errors   []mistake `json:"errors"`
	Warnings []string  `json:"warnings"`
	Advice   []string  `json:"advice"`
}

// A mistake is one of a validation's errors. Editors and CI jump to its place.
type mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Where   string `json:"where"`
	Message string `json:"message"`
}

// Run checks a configuration the way `run` and a reload do: it builds the
// chain, and throws it away.
func (c configValidateCmd) Run(a *app) error {
	if c.File != "" {
		a.flags.ConfigFile = c.File
	}
	cfg, err := a.loadConfig()
	if err == nil {
		if _, err = daemon.New(cfg, daemon.Options{}); err != nil {
			err = &exitError{exitConfig, err}
		}
	}
	if a.flags.Output == "json" {
		return a.validated(cfg, err)
	}
	if err != nil {
		return err
	}
	registries, upstreams := 0, 0
	for _, r := range cfg.Registries {
		if r.IsAny() { // a pattern: there is none of it before a client names one
			continue
		}
		registries++
		upstreams += len(r.Upstreams)
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(a.Stderr, a.messages.Text("config.warning", "text", w))
	}
	for _, w := range cfg.Advice {
		fmt.Fprintln(a.Stderr, a.messages.Text("config.advice", "text", w))
	}
	a.say("config.ok", "file", cfg.File, "registries", registries, "upstreams", upstreams)
	return nil
}

// validated writes a validation as JSON. A configuration that reads well may still
// fail to build, such as with a CA file that is no certificate: then the mistake
// has no line.
func (a *app) validated(cfg *config.Config, err error) error {
	v := validation{Schema: 1, OK: err == nil, Errors: []mistake{}, Warnings: []string{}, Advice: []string{}}
	if cfg != nil {
		v.File = cfg.File
		v.Warnings = append(v.Warnings, cfg.Warnings...)
		v.Advice = append(v.Advice, cfg.Advice...)
	}
	mistakes := config.Errors(err)
	for _, m := range mistakes {
		v.File = m.File
		v.Errors = append(v.Errors, mistake{m.File, m.Line, m.Column, m.Where, m.Message})
	}
	if err != nil && len(mistakes) == 0 {
		v.Errors = append(v.Errors, mistake{File: v.File, Message: err.Error()})
	}
	if err := a.json(v); err != nil {
		return err
	}
	if !v.OK {
		return &exitError{code: exitConfig}
	}
	return nil
}

// configShowCmd is `config show`.
type configShowCmd struct {
	Effective bool `help:"${help_config_effective}"`
}

// Run prints the configuration as it was understood.
func (c configShowCmd) Run(a *app) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, "# %s\n", a.messages.Text("config.from", "file", cfg.File))
	return cfg.Show(a.Stdout, c.Effective)
}
