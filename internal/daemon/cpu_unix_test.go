//go:build unix

package daemon_test

import (
	"syscall"
	"time"
)

// cpuTime is the CPU time that this process has used: unlike the time on the
// wall, it hardly depends on what else the machine does.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
