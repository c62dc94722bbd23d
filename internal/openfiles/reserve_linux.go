package openfiles

import (
	"net"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// reserve guards the limit of the process, which all Keepers share.
var reserve sync.Mutex

// limits returns the limit for all, and that for the operator's plane.
func limits() (soft, hard uint64) {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0, 0
	}
	return l.Cur, l.Max
}

// keepBack lowers the limit for all to what leaves the reserve. One that is lower already
// stays: it is the operator's wish, or what an earlier call has made of it.
func keepBack() {
	reserve.Lock()
	defer reserve.Unlock()
	soft, hard := limits()
	if most := hard - min(reserved, hard/8); soft > most {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: hard}) // to lower it is always allowed
	}
}

// beyond does what may take of the reserve.
func beyond(do func()) {
	reserve.Lock()
	defer reserve.Unlock()
	soft, hard := limits()
	most := min(hard, soft+reserved)
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: hard}) == nil {
		defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: soft, Max: hard})
	}
	do()
}

// waitTime is how long a wait for a connection takes at most: a listener that is closed
// meanwhile is noticed then.
const waitTime = 200 * time.Millisecond

// comes waits for a connection that could be accepted. Where there are no descriptors left
// accept(2) says so before it looks whether there is one, so that it cannot be asked.
// known is false of what is no socket.
func comes(l net.Listener) (ready, known bool) {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false, false
	}
	err = raw.Control(func(fd uintptr) {
		poll := struct {
			fd              int32
			events, revents int16
		}{fd: int32(fd), events: pollIn}
		wait := syscall.NsecToTimespec(waitTime.Nanoseconds())
		n, _, _ := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&wait)), 0, 0, 0)
		ready = int(n) == 1
	})
	return ready, err == nil
}

// pollIn is POLLIN of poll(2).
const pollIn = 1
