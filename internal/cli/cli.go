// Package cli is the command line: one file for each command. A command reads
// the configuration or asks a running daemon, and writes for people or for
// programs; what it needs done is done by the rooms below.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/pullchain/pullchain/internal/messages"
)

// A Program is what a command line runs with.
type Program struct {
	Args   []string  // without the program's name
	Stdin  io.Reader // nil is empty
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
}

// grammar is the command line. Its help texts are ${help_…} of the catalogue.
type grammar struct {
	globals

	Run      runCmd      `cmd:"" help:"${help_run}"`
	Demo     demoCmd     `cmd:"" help:"${help_demo}"`
	Status   statusCmd   `cmd:"" help:"${help_status}"`
	Pulls    pullsCmd    `cmd:"" help:"${help_pulls}"`
	Why      whyCmd      `cmd:"" help:"${help_why}"`
	Explain  explainCmd  `cmd:"" help:"${help_explain}"`
	Events   eventsCmd   `cmd:"" help:"${help_events}"`
	Cache    cacheCmd    `cmd:"" help:"${help_cache}"`
	Upstream upstreamCmd `cmd:"" help:"${help_upstream}"`
	Notify   notifyCmd   `cmd:"" help:"${help_notify}"`
	Config   configCmd   `cmd:"" help:"${help_config}"`
	Version  versionCmd  `cmd:"" help:"${help_version}"`

	Completion completionCmd `cmd:"" help:"${help_completion}"`
	Man        manCmd        `cmd:"" hidden:"" help:"${help_man}"`
}

// globals are the flags of every command.
type globals struct {
	ConfigFile string `name:"config" short:"c" placeholder:"FILE" help:"${help_flag_config}"`
	Addr       string `placeholder:"HOST:PORT|unix:PATH" help:"${help_flag_addr}"`
	TokenFile  string `placeholder:"FILE" help:"${help_flag_token_file}"`
	Output     string `short:"o" enum:"table,json,jsonl" default:"table" help:"${help_flag_output}"`
	NoColor    bool   `help:"${help_flag_no_color}"`
	Lang       string `placeholder:"en|zh" help:"${help_flag_lang}"`
}

// An app is what every command gets.
type app struct {
	Program
	flags    globals
	lines    bool // -o jsonl: a document is one line
	messages *messages.Catalogue
}

// say writes a line of the catalogue to standard output.
func (a *app) say(key string, pairs ...any) {
	fmt.Fprintln(a.Stdout, a.messages.Text(key, pairs...))
}

// Main runs the process's own command line and returns its exit code. The first
// SIGINT or SIGTERM ends the command in order, the second one at once.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the default action is back: the second one ends a
	// command that takes too long to end in order.
	context.AfterFunc(ctx, stop)
	return Run(ctx, Program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv})
}

// Run runs a command line and returns its exit code. ctx ends it.
func Run(ctx context.Context, p Program) int {
	a := &app{Program: p, messages: messages.Of(flagOf(p.Args, "--lang"), p.Getenv)}
	var g grammar
	exited := false
	parser, err := kong.New(&g,
		kong.Name("pullchain"),
		kong.Description(a.messages.Text("help.app")),
		kong.Writers(p.Stdout, p.Stderr),
		kong.Exit(func(int) { exited = true }), // after --help, which is all that calls it
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		helpTexts(a.messages),
		kong.Bind(a),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		panic(err) // the grammar is wrong; every test finds it
	}
	if completeLine(ctx, a, parser) {
		return exitOK
	}
	// Without a command there is help, and an exit code of its own: a script that
	// lost its arguments must not look successful.
	if len(p.Args) == 0 {
		p.Args = []string{"--help"}
		defer a.complain(errors.New(a.messages.Text("usage.command")))
		_, _ = parser.Parse(p.Args)
		return exitUsage
	}
	parsed, err := parser.Parse(p.Args)
	if exited {
		return exitOK
	}
	if err != nil {
		a.complain(err)
		fmt.Fprintln(p.Stderr, a.messages.Text("usage.help"))
		return exitUsage
	}
	a.flags = g.globals
	if a.flags.Output == "jsonl" {
		a.flags.Output, a.lines = "json", true
	}
	if a.flags.Output == "table" && wrapped[strings.Fields(parsed.Command())[0]] {
		a.Stdout = wrap(a.Stdout)
	}
	return a.codeOf(ctx, parsed.Run())
}

// flagOf finds a flag, by one of its names, in a command line that is not parsed yet:
// the help texts depend on --lang.
func flagOf(args []string, names ...string) string {
	for i, arg := range args {
		for _, name := range names {
			if value, ok := strings.CutPrefix(arg, name+"="); ok {
				return value
			}
			if arg == name && i+1 < len(args) {
				return args[i+1]
			}
		}
	}
	return ""
}

// helpTexts makes the catalogue's help.… the grammar's ${help_…}.
func helpTexts(m *messages.Catalogue) kong.Vars {
	vars := kong.Vars{}
	for _, key := range m.Keys() {
		if strings.HasPrefix(key, "help.") {
			vars[strings.ReplaceAll(key, ".", "_")] = m.Text(key)
		}
	}
	return vars
}
