// Package e2e holds the tests in which programs that people really run pull
// images through a real pullchain process: dockerd, two generations of
// containerd, podman, skopeo and crane, from a real distribution registry
// behind the scripted Hub of internal/simnet, with the Cloudflare Worker of
// examples/worker in real workerd as the second upstream.
//
// The tests carry the build tag e2e, need Linux, root and the programs that
// .ci/install installs, and fail (they never skip) where one is missing:
//
//	bash .ci/install
//	go test -tags e2e -parallel 8 ./internal/e2e/
//
// They wait most of the time, so many may run at once, on few cores too. None
// depends on how fast the machine is: upstreams are given minutes, and what is to
// happen in the middle of a blob waits at a gate.
//
// TestMatrix plays the quirks of internal/quirks against these clients, regctl, oras and
// a dockerd of the 29 line, directly and through pullchain; docs/matrix.md is what came
// of it. TestVerifyWhole has the same clients meet wrong bytes.
//
// TestF60_ClockOfARealDaemon sets the clock of a pullchain in whose Go time.Now has been
// replaced, which takes a build of its own.
//
// Each client lives in a network namespace of its own whose only neighbour is
// the address on which pullchain listens: it has no default route and no
// resolver, so whatever it pulls came through pullchain (or, in the matrix, from the
// odd registry that listens on the same address). Each pullchain has a
// cache of its own, in a directory of the test. The package exports nothing.
package e2e
