package otlp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/wire"
)

const (
	sendTimeout = 10 * time.Second // for one try, as the SDKs have it
	maxAnswer   = 64 << 10         // of a collector's answer is read
)

// A Client posts batches to one collector. Make one with [NewClient].
type Client struct {
	cfg  Collector
	http *http.Client
}

// NewClient returns what posts to c, which must be valid. It dials nothing yet. nil
// stands for a collector that there is not.
func NewClient(c Collector) (*Client, error) {
	if !c.On() {
		return nil, nil
	}
	c.Config = c.Config.WithDefaults()
	u, err := url.Parse(c.url())
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	// The operator typed this address: one on this machine is the usual case. Nothing
	// else is dialled, and no redirect is followed.
	guard, err := egress.NewGuard(egress.GuardConfig{Trusted: []string{net.JoinHostPort(u.Hostname(), port)}, AllowPrivate: true, AllowHTTP: true})
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	transport, err := egress.NewTransport(egress.TransportConfig{Egress: c.Proxy, Guard: guard, HeaderTimeout: sendTimeout, MaxConnections: 1})
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return &Client{cfg: c, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// close lets go of the connection.
func (c *Client) close() { c.http.CloseIdleConnections() }

// A refusal is why a collector did not take a batch.
type refusal struct {
	said  string
	retry bool          // later it may
	after time.Duration // as it asked for
}

// Error returns what the collector said, without any secret.
func (r *refusal) Error() string { return r.said }

// post sends a batch once. rejected is how many of its spans the collector took and threw
// away, and why. The error is a *refusal.
func (c *Client) post(ctx context.Context, batch []byte) (rejected int64, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	req, err := c.request(ctx, batch)
	if err != nil {
		return 0, "", &refusal{said: "the address is no URL"}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok { // the log names the collector
			err = ue.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", sendTimeout)
		}
		return 0, "", &refusal{said: c.safe(err.Error()), retry: true}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, "", &refusal{said: c.safe("reading the answer: " + err.Error()), retry: true}
	}
	if no := c.judge(resp, body); no != nil {
		return 0, "", no
	}
	rejected, why = rejection(body)
	return rejected, c.safe(why), nil
}

// request writes the request for a batch.
func (c *Client) request(ctx context.Context, batch []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.url(), bytes.NewReader(batch))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", egress.UserAgent)
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token.Reveal())
	}
	for name, value := range c.cfg.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value.Reveal()
			continue
		}
		req.Header.Set(name, value.Reveal())
	}
	return req, nil
}

// judge says why the answer is a refusal; nil: the batch was taken. What is worth another
// try is the list of OTLP, "Retryable Response Codes".
func (c *Client) judge(resp *http.Response, body []byte) *refusal {
	page, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch status := resp.StatusCode; {
	case status/100 == 2 && page == "text/html":
		return &refusal{said: "the answer is a web page: something else answers at that address", retry: true}
	case status/100 == 2:
		return nil
	case status/100 == 3:
		return &refusal{said: fmt.Sprintf("HTTP %d: it redirects elsewhere, which is not followed: write the address that it leads to", status)}
	}
	no := &refusal{said: c.safe(strings.TrimSpace(fmt.Sprintf("HTTP %d %s", resp.StatusCode, body)))}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		no.retry, no.after = true, wire.ParseRetryAfter(resp.Header.Get("Retry-After"), wire.SentAt(resp.Header, time.Now()))
	}
	return no
}

// rejection reads how many spans a collector threw away of a batch that it took. It may
// write the number as one or as a string, as all of Protobuf's JSON.
func rejection(body []byte) (n int64, why string) {
	var answer struct {
		Partial struct {
			Rejected json.RawMessage `json:"rejectedSpans"`
			Message  string          `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return 0, "" // it said 200, and what it said besides is none of OTLP's
	}
	n, _ = strconv.ParseInt(strings.Trim(string(answer.Partial.Rejected), `"`), 10, 64)
	return max(0, n), answer.Partial.Message
}

// safe makes a text fit to be shown: clipped, printable, and without the secrets, which
// a collector or a proxy might repeat.
func (c *Client) safe(text string) string {
	secrets := []string{c.cfg.Token.Reveal()}
	for _, v := range c.cfg.Headers {
		secrets = append(secrets, v.Reveal())
	}
	return wire.Clip(pullchain.HideSecrets(text, secrets))
}
