package wire_test

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// A server reads what a client asks for into a Request, and a client spells the
// Request for another server: here for one that serves Docker Hub under a prefix.
func Example() {
	target, err := wire.Parse("/v2/library/alpine/manifests/3.22", "ns=docker.io")
	if err != nil {
		fmt.Println(err)
		return
	}
	req := target.Req
	fmt.Println(req.Op, req.Repo, req.Tag)

	req.Repo = "hub/" + req.Repo
	fmt.Println("GET", wire.Path(req))
	// Output:
	// manifest library/alpine 3.22
	// GET /v2/hub/library/alpine/manifests/3.22
}

// What is wrong with a path comes with the answer that the client gets for it.
func ExampleParse_refused() {
	_, err := wire.Parse("/v2/library/../secrets/manifests/latest", "")
	bad, _ := errors.AsType[*wire.PathError](err)
	fmt.Println(bad.Status, bad.Code)
	// Output:
	// 400 NAME_INVALID
}

// A range is resolved once the size of the blob is known.
func ExampleResolveRange() {
	r, _ := wire.ParseRange("bytes=-500") // the last 500 bytes
	abs, ok := wire.ResolveRange(r, 2000)
	fmt.Println(abs, ok)

	_, ok = wire.ResolveRange(pullchain.Range{From: 2000}, 2000)
	fmt.Println(ok, wire.UnsatisfiedRange(2000))
	// Output:
	// {1500 2000} true
	// false bytes */2000
}

// An upstream may name a wait in seconds or as a date, and ask for one that is too
// short to be polite or too long to be useful.
func ExampleParseRetryAfter() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, value := range []string{"90", now.Add(time.Hour).Format(http.TimeFormat), "1000000", "soon"} {
		fmt.Println(wire.ClampRetryAfter(wire.ParseRetryAfter(value, now)))
	}
	// Output:
	// 1m30s
	// 1h0m0s
	// 6h0m0s
	// 0s
}

// Text from the network is made safe before a person or a log sees it.
func ExampleQuote() {
	fmt.Println(wire.Quote("rate \"limit\"\r\n\x1b[31mreached"))
	// Output:
	// "rate 'limit' ?[31mreached"
}
