// Command bench measures pullchain beside its peers: nginx with proxy_cache, in
// the recipe that people use for registries, and the distribution project's
// registry as a pull-through cache. All stand in front of the same simulated
// internet, in one run, and take turns, so that what the machine does
// meanwhile hits all of them. Each row of the table of docs/architecture.md, "What it must reach", that is about
// the store and the fill becomes a ratio beside both absolute figures.
//
//	go run ./internal/bench                     # everything, some ten minutes
//	go run ./internal/bench -quick              # small sizes: does it all work?
//	go run ./internal/bench -only 'warm blob'   # some measures
//	go run ./internal/bench -json >table.json   # with every sample
//	go run ./internal/bench -profile DIR        # and where the time goes (needs perf)
//
// What is fair: every server has its files in one temporary folder and the page
// cache warm, writes its access log to a file, speaks AES-128-GCM in TLS, and
// is checked once for the right bytes before anything is measured. The CPU time
// is that of the server's whole process tree; the clients do as little as
// possible: they throw bodies away inside the kernel, undecrypted. On two cores
// the client still competes with the server, so CPU seconds per GB say more
// than bytes per second; the notes tell the client's share.
//
// A peer that is not installed leaves its rows empty with the reason. Programs
// that are started here end with this one, however it ends (Linux only).
package main
