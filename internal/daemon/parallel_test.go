package daemon_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/pullchain/pullchain/internal/leaktest"
)

// TestMain lets more tests run at once than there are cores: they wait for
// sockets and timers and hardly compute. A -parallel on the command line holds.
// What a daemon has started must be gone when its Run has returned.
func TestMain(m *testing.M) {
	if path := os.Getenv(killedEnv); path != "" {
		if err := runKilled(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	leaktest.Main(m, http.DefaultClient.CloseIdleConnections)
}
