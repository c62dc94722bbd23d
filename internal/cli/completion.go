package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/pullchain/pullchain/internal/admin"
)

// completionCmd is `completion`.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"${help_completion_shell}"`
}

// Run prints what a shell has to read to complete our command lines.
func (c *completionCmd) Run(a *app) error {
	_, err := fmt.Fprint(a.Stdout, completionScripts[c.Shell])
	return err
}

// completionScripts are the scripts, by shell. Each asks the program itself how a line
// may go on, so that it never lags behind; where the program has no word for it,
// the shell goes on with names of files.
var completionScripts = map[string]string{
	// bash takes a word apart at its colons, and replaces the last part alone.
	"bash": `_pullchain() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT}
    local typed=${line##*[[:space:]]}
    COMPREPLY=($(COMP_LINE=$line pullchain 2>/dev/null))
    case $typed in
    *:*) COMPREPLY=("${COMPREPLY[@]#"${typed%:*}:"}") ;;
    esac
}
complete -o default -o bashdefault -F _pullchain pullchain
`,
	"zsh": `_pullchain() {
    local -a found
    found=(${(f)"$(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" pullchain 2>/dev/null)"})
    compset -P '*='
    if (( $#found )); then
        compadd -a found
    else
        _files
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _pullchain pullchain
`,
	"fish": `function __pullchain_complete
    set -l typed (commandline -ct)
    set -l line (commandline -cpo) $typed
    set -l found (COMP_LINE="$line" pullchain 2>/dev/null)
    set -l before (string replace -r -- '^(--[^=]*=)?.*' '$1' $typed)
    if test (count $found) -eq 0
        set found (__fish_complete_path (string replace -r -- '^--[^=]*=' '' $typed))
    end
    printf '%s\n' $before$found
end
complete -c pullchain -f -a '(__pullchain_complete)'
`,
}

// completionTimeout is how long a daemon may take to name its registries. A person waits
// with a finger on the key.
const completionTimeout = 300 * time.Millisecond

// completeLine answers a shell that asks in $COMP_LINE how a command line may go on,
// a word to a line. It reports whether one has asked.
func completeLine(ctx context.Context, a *app, k *kong.Kong) bool {
	line := a.Getenv("COMP_LINE")
	if line == "" {
		return false
	}
	words := strings.Fields(line)
	if n := len(words); n > 0 && strings.HasSuffix(line, words[n-1]) {
		words = words[:n-1] // still being typed
	}
	inheritFlags(k.Model.Node)
	offerNames(ctx, a, commandOf(k.Model.Node, words), words)
	var found bytes.Buffer
	k.Stdout = &found
	kongcompletion.Register(k, kongcompletion.WithExitFunc(func(int) {}))
	lines := strings.Fields(found.String())
	slices.Sort(lines)
	for _, word := range slices.Compact(lines) {
		fmt.Fprintln(a.Stdout, word)
	}
	return true
}

// inheritFlags gives commands the flags of those above them: the library takes what
// follows a flag that it does not know for an argument.
func inheritFlags(n *kong.Node) {
	for _, child := range n.Children {
		child.Flags = append(slices.Clone(n.Flags), child.Flags...)
		inheritFlags(child)
	}
}

// commandOf returns the command that words have got to.
func commandOf(n *kong.Node, words []string) *kong.Node {
	for _, word := range words {
		for _, child := range n.Children {
			if child.Name == word {
				n = child
				break
			}
		}
	}
	return n
}

// offerNames makes the names of a running daemon the values of those arguments and
// flags that have a tag for it: names:"registry", names:"upstream" or both. Without
// a daemon there are none.
func offerNames(ctx context.Context, a *app, n *kong.Node, words []string) {
	values := slices.Clone([]*kong.Value(n.Positional))
	for _, f := range n.Flags {
		values = append(values, f.Value)
	}
	values = slices.DeleteFunc(values, func(v *kong.Value) bool { return !v.Tag.Has("names") })
	if len(values) == 0 {
		return
	}
	ask := *a
	ask.Stderr = io.Discard // it would be in the middle of the line
	ask.flags = globals{Addr: flagOf(words, "--addr"), TokenFile: flagOf(words, "--token-file"), ConfigFile: flagOf(words, "--config", "-c")}
	p, err := ask.adminClient()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	s, err := p.snapshot(ctx)
	if err != nil {
		return
	}
	for _, v := range values {
		v.Enum = strings.Join(namesOf(s, v.Tag.Get("names")), ",")
	}
}

// plainName is what a shell needs no quotes for. Another program may be at the address.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]*$`)

// namesOf returns the names of a daemon's registries and upstreams, as far as kinds
// asks for them.
func namesOf(s admin.Snapshot, kinds string) []string {
	var names []string
	for _, r := range s.Registries {
		if strings.Contains(kinds, "registry") {
			names = append(names, r.Registry)
		}
		for _, l := range r.Lanes {
			if strings.Contains(kinds, "upstream") {
				names = append(names, r.Registry+"/"+l.Upstream)
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !plainName.MatchString(name) })
}
