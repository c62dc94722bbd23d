package daemon

import (
	"context"

	"github.com/pullchain/pullchain/internal/notify"
)

// newNotifier returns what tells by webhooks how the registries stand. It reads what a
// snapshot is made of, and nothing of the chain waits for it.
func (d *Daemon) newNotifier() *notify.Notifier {
	var seen uint64 // of the events; the one goroutine that waits has it
	return notify.New(notify.Options{
		From:  d.sender,
		Log:   d.log,
		Guard: d.guard,
		Look:  d.standing,
		Wait: func(ctx context.Context) {
			events := d.chain.Load().events // the same over a reload
			if events.Wait(ctx, seen) == nil {
				_, seen, _ = events.Since(seen)
			}
		},
	})
}

// sender is what messages say of this daemon.
func (d *Daemon) sender() notify.Sender {
	from := notify.Sender{Version: d.opts.Version, Dashboard: d.cfg.Admin.URL}
	if from.Dashboard == "" && d.operator != nil {
		from.Dashboard = "http://" + dialable(d.operator[0].Addr()) + "/"
	}
	return from
}

// standing is how all registries stand, and why.
func (d *Daemon) standing() notify.State {
	s := d.Snapshot()
	return notify.State{Now: s.Now, Chains: s.Chains(), Warnings: s.Warnings}
}
