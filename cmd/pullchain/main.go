// Command pullchain is a mirror for container image pulls that hides an ordered
// chain of upstreams behind one address.
package main

import (
	"os"

	"github.com/pullchain/pullchain/internal/cli"
)

func main() { os.Exit(cli.Main()) }
