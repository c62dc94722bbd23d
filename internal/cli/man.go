package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	mangokong "github.com/alecthomas/mango-kong"
)

// manCmd is `man`, which packages call for the manual page. It is hidden from people.
type manCmd struct{}

// exitCodes are all of them. Each has a text in the catalogue.
var exitCodes = []int{exitOK, exitFailed, exitUsage, exitConfig, exitUnreachable, exitDegraded, exitNoPath, exitWrong, exitRefused, exitInterrupted}

// Run prints the manual page as roff.
func (manCmd) Run(k *kong.Context, a *app) error {
	k.Model.Detail = a.messages.Text("man.about")
	var page strings.Builder
	k.Stdout = &page
	if err := mangokong.ManFlag(true).BeforeApply(k.Kong); err != nil {
		return err
	}
	// The library's heading has today's date, so that no two builds are the same, and a
	// whole sentence where a page has room for a word.
	_, body, _ := strings.Cut(page.String(), "\n")
	fmt.Fprintf(a.Stdout, ".TH PULLCHAIN 1 \"\" \"pullchain\"\n%s\n", body)
	fmt.Fprintf(a.Stdout, ".SH %s\n", strings.ToUpper(a.messages.Text("man.exit_codes")))
	for _, code := range exitCodes {
		fmt.Fprintf(a.Stdout, ".TP\n\\fB%d\\fP\n%s\n", code, a.messages.Text("man.exit."+strconv.Itoa(code)))
	}
	return nil
}
