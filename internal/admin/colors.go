package admin

import (
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/terminal"
)

var levelColors = map[string]terminal.Color{
	LevelOK: terminal.Green, LevelDegraded: terminal.Yellow, LevelOutage: terminal.Red,
}

// stateColors group the states by what they ask of a reader: green serves, yellow
// passes by itself, red wants a look, and faint is as the operator left it. A state
// that is missing here, such as standby, has the terminal's own colour.
var stateColors = map[string]terminal.Color{
	balancer.StateServing: terminal.Green,

	balancer.StateDegraded: terminal.Yellow,
	balancer.StateCooling:  terminal.Yellow,
	balancer.StateHalfOpen: terminal.Yellow,

	balancer.StateOpen:        terminal.Red,
	balancer.StateDown:        terminal.Red,
	balancer.StateQuarantined: terminal.Red,

	balancer.StateDrained:  terminal.Faint,
	balancer.StateDisabled: terminal.Faint,
	balancer.StateUnknown:  terminal.Faint,
}
