//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/quirks"
)

var (
	matrixSize = flag.Int("matrix", 8, "how many quirks each client of the matrix plays, picked by -matrix-seed; 0 is all of them")
	matrixSeed = flag.String("matrix-seed", "", "picks the quirks that are played, any text")
	matrixOnly = flag.String("matrix-only", "", "regular expression of client/quirk: plays these cells, whatever the seed says")
)

// The pairs of the matrix are of this seed, so that the table has always the same
// rows.
const (
	pairSeed  = 7
	pairCount = 48
)

// matrixPatience is how long a pull may take that takes a second as a rule. Some
// clients wait for minutes before they believe an error.
const matrixPatience = 2 * time.Minute

// matrixQuirks are the rows of the table.
func matrixQuirks() []quirks.Quirk { return append(quirks.All(), quirks.Pairs(pairSeed, pairCount)...) }

// TestMatrix plays quirks of registries against real clients, once directly and
// once through pullchain: never worse than direct (docs/faults.md, 0). Where the
// client succeeds directly it must succeed through pullchain, with the same digests
// and bytes, and so must the next ordinary pull from the same registry; where it
// fails directly, a second and good upstream must make up for it.
//
// Every cell that was played is compared with docs/matrix.md, which -update writes.
func TestMatrix(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	table := loadTable(t)
	t.Cleanup(func() { table.finish(t) })
	for _, p := range pullers {
		chosen := chooseQuirks(t, p.name)
		if len(chosen) == 0 {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			ns := newNamespace(t)
			client := p.start(t, ns)
			// A pullchain for some quirks at a time bounds the open ports, and what one
			// registry's quirk may do to the others.
			n := 0
			for batch := range slices.Chunk(chosen, 16) {
				n++
				t.Run(fmt.Sprint("batch", n), func(t *testing.T) {
					rig := newMatrixRig(t, program, ns, p.name, batch)
					for i, q := range batch {
						t.Run(q.Name, func(t *testing.T) { rig.play(t, client, i, table) })
					}
					rig.daemon.process.stop(t)
				})
			}
		})
	}
}

// chooseQuirks picks what a client plays in this run.
func chooseQuirks(t *testing.T, client string) []quirks.Quirk {
	t.Helper()
	only, err := regexp.Compile(*matrixOnly)
	if err != nil {
		t.Fatal(err)
	}
	var chosen []quirks.Quirk
	for _, q := range matrixQuirks() {
		if only.MatchString(client+"/"+q.Name) && (!q.Slow || *matrixSize == 0 || *matrixOnly != "") {
			chosen = append(chosen, q)
		}
	}
	if *matrixSize == 0 || *matrixOnly != "" {
		return chosen
	}
	hash := fnv.New64()
	fmt.Fprint(hash, *matrixSeed, " ", client)
	rand.New(rand.NewPCG(hash.Sum64(), 0)).Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen[:min(*matrixSize, len(chosen))]
}

// An outcome is how two pulls from one registry went: of an image that the quirk may
// be about, and of another one after it.
type outcome struct {
	odd, next bool
	told      string // what the client printed, and what the registry was asked
}

func (o outcome) String() string {
	mark := map[bool]string{true: "+", false: "-"}
	return mark[o.odd] + mark[o.next]
}

func (o outcome) well() bool { return o.odd && o.next }

// play plays one cell and enters it into the table.
func (m *matrixRig) play(t *testing.T, p puller, i int, table *matrixTable) {
	q := m.plays[i].quirk
	if q.ListedTag != "" && p.tags == nil {
		t.Skip("this client lists no tags")
	}
	direct := m.pullBoth(t, p, q, "direct", m.direct(t, q))
	ours := m.pullBoth(t, p, q, "ours", m.plays[i].alone)
	cell := direct.String() + " " + ours.String()
	var faults []string
	if direct.odd && !ours.odd {
		faults = append(faults, "the pull works without pullchain, and fails through it")
	}
	if direct.next && !ours.next {
		faults = append(faults, "the next pull works without pullchain, and fails through it")
	}
	told := "--- directly " + direct.told + "--- ours " + ours.told
	if !direct.well() {
		second := m.pullBoth(t, p, q, "second", m.plays[i].second)
		cell += " " + second.String()
		if !second.well() {
			faults = append(faults, "a second upstream has it, and the pull fails")
			told += "--- with a second upstream " + second.told
		}
	}
	table.enter(t, m.client, q.Name, cell)
	if len(faults) > 0 {
		t.Errorf("%s: %s\n%s", cell, strings.Join(faults, "; "), told)
	}
}

// pullBoth pulls both images from a site.
func (m *matrixRig) pullBoth(t *testing.T, p puller, q quirks.Quirk, kind string, at matrixSite) outcome {
	t.Helper()
	var o outcome
	var told strings.Builder
	odd := func() bool { return m.pullOne(t, p, at, "odd/app", q.Name+"-"+kind+"-a", q.ListedTag, &told) }
	o.odd = odd()
	if q.Passes && !o.odd {
		o.odd = later(t, odd)
	}
	o.next = m.pullOne(t, p, at, "library/next", q.Name+"-"+kind+"-b", "", &told)
	o.told = fmt.Sprintf("(%s)\n%s  the registry was asked:\n%s", o, &told, at.asked)
	if at.registry != "" {
		o.told += "  pullchain logged:\n" + m.traces(at.registry)
	}
	return o
}

// later pulls again and again, as a person or an orchestrator does, until it works: a
// "no" may be remembered for some seconds.
func later(t *testing.T, pull func() bool) bool {
	ctx, cancel := context.WithTimeout(t.Context(), matrixPatience)
	defer cancel()
	for {
		if pull() {
			return true
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
}

// pullOne pulls an image of its own, or lists tags where that is what the quirk is
// about.
func (m *matrixRig) pullOne(t *testing.T, p puller, at matrixSite, repository, tag, listed string, told *strings.Builder) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), matrixPatience)
	defer cancel()
	img := newImageOf(t, strings.ReplaceAll(m.client+"-"+tag, "+", "_"), []int{10 << 10, 300 << 10})
	img.repository = repository
	pushTo(at.content, img)
	if listed != "" {
		output, err := p.tags(ctx, at.site, repository)
		if err != nil || !regexp.MustCompile(`\b`+regexp.QuoteMeta(listed)+`\b`).MatchString(output) {
			fmt.Fprintf(told, "  tags of %s: %v, %.500s\n", repository, err, output)
			return false
		}
		return true
	}
	start := time.Now()
	got, output, err := p.pull(ctx, at.site, img)
	t.Logf("%s: %v", img.name(), time.Since(start).Round(time.Millisecond))
	if err != nil {
		// What it says last is why; progress stands before it.
		fmt.Fprintf(told, "  %s: %v\n%s\n", img.name(), err, output[max(0, len(output)-1000):])
		return false
	}
	if got != p.want(img) {
		fmt.Fprintf(told, "  %s: pulled, but as %s, which it is not\n", img.name(), got)
		return false
	}
	return true
}
