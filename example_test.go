package pullchain_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pullchain/pullchain"
)

// fetcherFunc makes a Fetcher of a function.
type fetcherFunc func(context.Context, pullchain.Request) (pullchain.Response, error)

func (f fetcherFunc) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	return f(ctx, req)
}

// counting is a link of the chain: a Fetcher before a Fetcher. It counts the bytes
// that are read of each upstream.
type counting struct {
	next  pullchain.Fetcher
	bytes map[string]int
}

func (c *counting) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	resp, err := c.next.Fetch(ctx, req)
	if err != nil {
		return pullchain.Response{}, err // a link that has nothing to add passes the Error on
	}
	resp.Body = &countedBody{Body: resp.Body, c: c}
	return resp, nil
}

// A countedBody embeds the Body that it wraps, so that all the Body has to tell is
// told by the wrapper too.
type countedBody struct {
	pullchain.Body
	c *counting
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	b.c.bytes[b.Source().Upstream] += n
	return n, err
}

// Sections returns none: bytes that are sent from where they lie would not be counted.
func (b *countedBody) Sections() pullchain.Sections { return nil }

// A link of the chain wraps a Fetcher, and the Bodies that it returns.
func ExampleFetcher() {
	hub := fetcherFunc(func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		if req.Tag != "1" {
			return pullchain.Response{}, &pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Upstream: "hub", Status: 404}
		}
		return pullchain.Response{Status: 200, Size: 5, Body: sentBy{pullchain.BytesBody([]byte("hello")), "hub"}}, nil
	})
	chain := &counting{next: hub, bytes: map[string]int{}}

	resp, err := chain.Fetch(context.Background(), pullchain.Request{Op: pullchain.Manifest, Repo: "app", Tag: "1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	content, err := io.ReadAll(resp.Body)
	fmt.Printf("%s %v %v\n", content, errors.Join(err, resp.Body.Close()), chain.bytes)

	_, err = chain.Fetch(context.Background(), pullchain.Request{Op: pullchain.Manifest, Repo: "app", Tag: "2"})
	fmt.Println(err, pullchain.ReasonOf(err).Failover())
	// Output:
	// hello <nil> map[hub:5]
	// hub: not found http_404 (HTTP 404) true
}

// sentBy tells where its bytes come from.
type sentBy struct {
	pullchain.Body
	upstream string
}

func (b sentBy) Source() pullchain.Source { return pullchain.Source{Upstream: b.upstream} }
