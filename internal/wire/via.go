package wire

import (
	"regexp"
	"slices"
	"strings"
)

// ViaHeader names the pullchains that a request has come through, each by a word that is
// random for its process, so that a chain that leads back to itself is found out. It is
// no Via (RFC 9110 7.6.3), for which servers turn off compression or caching.
const ViaHeader = "Pullchain-Via"

// maxHops is how many pullchains a request may come through: a workstation, a team, a site
// and a region are four.
const maxHops = 8

// hop is the word of one process.
var hop = regexp.MustCompile(`^[0-9a-z]{4,16}$`)

// ParseVia reads the values of the header. What is not in its form is as good as none.
func ParseVia(values []string) []string {
	if len(values) != 1 || len(values[0]) > maxHops*20 {
		return nil
	}
	hops := strings.Split(values[0], ", ")
	for _, h := range hops {
		if !hop.MatchString(h) {
			return nil
		}
	}
	return hops
}

// LeadsBack reports whether a request with these hops must not go on from self: it has been
// here, or has come through more than any sensible chain has.
func LeadsBack(hops []string, self string) bool {
	return slices.Contains(hops, self) || len(hops) >= maxHops
}

// AddHop returns the header's value for what goes on from self; via is that of the request.
func AddHop(via, self string) string {
	if via == "" {
		return self
	}
	return via + ", " + self
}
