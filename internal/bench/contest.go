//go:build linux

package main

import "fmt"

// direct is the name of a client that asks the registry itself.
const direct = "direct"

// A side is one of the servers that take turns in a contest.
type side struct {
	name string
	turn func(round int) error
}

// A contest collects what several sides have reached, figure by figure.
type contest struct {
	samples map[string]map[string][]float64 // figure -> side -> a sample a round
	missing map[string]string               // side -> why it is out
}

// newContest begins with the sides that cannot take part.
func newContest(absent map[string]string) *contest {
	c := &contest{samples: map[string]map[string][]float64{}, missing: map[string]string{}}
	for name, why := range absent {
		c.missing[name] = why
	}
	return c
}

// add adds a sample.
func (c *contest) add(figure, side string, v float64) {
	if c.samples[figure] == nil {
		c.samples[figure] = map[string][]float64{}
	}
	c.samples[figure][side] = append(c.samples[figure][side], v)
}

// takeTurns lets every side have its turn in each round, another one first each
// time: A B C, B C A, ... A side that fails is out, the others go on.
func (b *bench) takeTurns(c *contest, rounds int, sides []side) error {
	for round := range rounds {
		for i := range sides {
			// What comes first finds a cooler machine, and what comes last one that
			// is warm or busy. Turns spread that over all.
			s := sides[(i+round)%len(sides)]
			if c.missing[s.name] != "" {
				continue
			}
			if err := s.turn(round); err != nil {
				if b.ctx.Err() != nil {
					return b.ctx.Err()
				}
				c.missing[s.name] = fmt.Sprintf("%s failed: %v", s.name, err)
				b.progress("%s", c.missing[s.name])
			}
		}
	}
	return nil
}

// against makes the row of one figure against one peer. The name of the figure
// becomes part of the measure's.
func (c *contest) against(measure, figure, unit, peer string, g goal) row {
	name := measure
	if figure != "" {
		name += ": " + figure
	}
	r := row{
		measure: name, unit: unit, goal: g, peer: peer,
		ours: c.samples[figure][pullchain], theirs: c.samples[figure][peer],
	}
	for _, s := range []string{pullchain, peer} {
		if why := c.missing[s]; why != "" {
			r.missing = why
			if s == pullchain {
				r.ours = nil
			} else {
				r.theirs = nil
			}
		}
	}
	return r
}

// goals are what the peers are to be measured by; a peer that is not in it has
// a row without a goal.
type goals map[string]goal

// rows makes a row for each of the peers.
func (c *contest) rows(measure, figure, unit string, against []string, g goals) []row {
	var rows []row
	for _, peer := range against {
		rows = append(rows, c.against(measure, figure, unit, peer, g[peer]))
	}
	return rows
}

// shares tells how much of the CPU time of a load was the client's.
func (c *contest) shares(of string, names ...string) string {
	note := "client's part of the CPU:"
	for i, name := range names {
		if i > 0 {
			note += ","
		}
		note += fmt.Sprintf(" %s %s", name, figure(median(c.samples[of][name]), "%"))
	}
	return note
}
