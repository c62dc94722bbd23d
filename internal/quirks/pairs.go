package quirks

import (
	"cmp"
	"math/rand/v2"
)

// Pairs returns n different pairs of quirks, always the same ones for a seed. Real
// places have several oddities at once: a CDN that refuses ranges stands behind
// a registry that mislabels its manifests.
//
// No pair is of two that decide the same thing, since the outer one would hide
// the inner: two answers to referrers, two kinds of links.
func Pairs(seed uint64, n int) []Quirk {
	all := All()
	random := rand.New(rand.NewPCG(seed, 0))
	seen := map[string]bool{}
	var found []Quirk
	for tries := 0; len(found) < n && tries < 1000*n; tries++ {
		i, j := random.IntN(len(all)), random.IntN(len(all))
		if i > j {
			i, j = j, i
		}
		a, b := all[i], all[j]
		pair := both(a, b)
		if i == j || seen[pair.Name] || !meet(a, b) {
			continue
		}
		seen[pair.Name] = true
		found = append(found, pair)
	}
	return found
}

// meet reports whether both of two quirks can be seen when they are laid over one
// registry, and whether a pull meets them.
func meet(a, b Quirk) bool {
	kindA, kindB := kind(a.Name), kind(b.Name)
	links := a.Link != nil && b.Link != nil || a.LinkStatus != 0 && b.LinkStatus != 0
	return kindA != kindB && !links && pairs(a) && pairs(b)
}

// pairs reports whether a quirk lets another one be seen beside it, in every pull.
func pairs(q Quirk) bool {
	return !q.Slow && q.ListedTag == "" && kind(q.Name) != "odd" && q.Name != "router-404-every" && q.Name != "router-login"
}

// kind is the first word of a quirk's name: what it is about.
func kind(name string) string {
	for i := range len(name) {
		if name[i] == '-' {
			return name[:i]
		}
	}
	return name
}

// both lays the first quirk over the second.
func both(a, b Quirk) Quirk {
	q := Quirk{
		Name:       a.Name + "+" + b.Name,
		About:      a.About + "; " + b.About,
		Source:     "two that are known, at once",
		Registry:   append(append([]Layer{}, a.Registry...), b.Registry...),
		Link:       a.Link,
		LinkStatus: cmp.Or(a.LinkStatus, b.LinkStatus),
		SameHost:   a.SameHost || b.SameHost,
		ListedTag:  cmp.Or(a.ListedTag, b.ListedTag),
		Passes:     a.Passes || b.Passes,
		Wrong:      a.Wrong || b.Wrong,
		Slow:       a.Slow || b.Slow,
	}
	if a.CDN != nil || b.CDN != nil {
		q.CDN = append(append([]Layer{}, a.CDN...), b.CDN...)
	}
	if q.Link == nil {
		q.Link = b.Link
	}
	return q
}
