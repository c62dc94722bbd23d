package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector runs as memory is asked for, so that a daemon at rest would keep the garbage
// of its last pulls for minutes, on a machine whose user has other things to do. Once no
// request has been under way for restAfter it is given back, where it is worth the few
// milliseconds.
const (
	restLook  = time.Second
	restAfter = 3 * time.Second
	restWorth = 4 << 20 // bytes that the system has not got back
)

// giveBack gives memory back to the system whenever the daemon has come to rest, until ctx
// is done.
func giveBack(ctx context.Context, d *Daemon) {
	look := time.NewTicker(restLook)
	defer look.Stop()
	worked := false
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		busy := d.handler.BusyWithin(restAfter)
		if worked && !busy && keeps() >= restWorth {
			debug.FreeOSMemory()
		}
		worked = busy
	}
}

// keeps is how many bytes the process holds and does not need, as far as that is known without
// a collection: what is free, and what is garbage or may be.
func keeps() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	value := func(i int) uint64 { return samples[i].Value.Uint64() }
	return value(0) + value(1) + value(2) - min(value(2), value(3))
}
