package diagnose

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
)

// offBy is by how much clocks must differ to be worth a word. Tokens and signed links
// live for five minutes (docs/protocol.md 4).
const offBy = 5 * time.Minute

// setClock is the command that sets the clock right and keeps it so.
const setClock = "timedatectl set-ntp true"

// clockWrong finds a clock of ours that is wrong: several hosts say so, in the same
// way, and more than say that it is right. One alone may be wrong itself.
func clockWrong(f *findings) []Warning {
	var off [2][]*lane // ours is behind, ours is ahead
	var right []*lane
	for _, l := range f.where(func(l *lane) bool { return l.LastOK != nil && l.trouble == "" }) {
		switch skew := time.Duration(l.SkewMS) * time.Millisecond; {
		case skew > offBy:
			off[0] = append(off[0], l)
		case skew < -offBy:
			off[1] = append(off[1], l)
		default:
			right = append(right, l)
		}
	}
	for i, way := range []string{"behind", "ahead"} {
		if len(hosts(off[i])) < 2 || len(hosts(off[i])) <= len(hosts(right)) {
			continue
		}
		skew := (time.Duration(middle(off[i])) * time.Millisecond).Abs().Round(time.Minute)
		return []Warning{{
			ID: ClockWrong, Code: ClockWrong, Severity: Degraded, Since: f.Now, Affects: paths(off[i]),
			Values: map[string]string{"way": way, "by_s": strconv.Itoa(int(skew.Seconds()))}, Fix: setClock,
		}}
	}
	return nil
}

// middle is the median of what lanes say of our clock: one that lies does not move it.
func middle(lanes []*lane) int64 {
	var all []int64
	for _, l := range lanes {
		all = append(all, l.SkewMS)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// clockCerts finds the same where there is no answer to read a clock from: certificates
// of several hosts are not valid at this time.
func clockCerts(f *findings) []Warning {
	dated := f.where(func(l *lane) bool {
		return l.hasTrouble(pullchain.CodeTLSCert) && strings.Contains(l.text(), "expired or is not yet valid") // crypto/x509, CertificateInvalidError
	})
	if len(hosts(dated)) < 2 {
		return nil
	}
	return []Warning{f.root(ClockCerts, "", dated, nil, setClock)}
}
