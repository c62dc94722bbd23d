// Package front is the data plane's face: it turns what a client asks for into
// a [pullchain.Request], hands it to the registry's chain, and turns the answer
// back into what the OCI distribution specification wants, with one access-log
// line for each request.
//
// A [Handler] serves; [Routes] says which registry a name means and may be
// swapped while it serves; a [Server] is the listener's limits and the drain.
//
// It never asks an upstream anything itself, keeps no content, and takes
// nothing of a client's headers but Accept, Range, If-Range and If-None-Match:
// the client's credentials end here (docs/faults.md 6, inbound header hygiene).
package front
