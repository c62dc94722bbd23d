package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/wire"
)

const (
	sendTimeout = 10 * time.Second // for one try, with its redirects
	maxAnswer   = 64 << 10         // of a service's answer is read
	maxHops     = 3                // redirects, all on one host
)

// A Webhook is a [[notify]] table, and the way out that its egress names.
type Webhook struct {
	Config
	Proxy egress.Config
}

// A client posts the messages of one webhook.
type client struct {
	cfg  Config
	http *http.Client
}

// newClient returns a client for hook. over replaces the network; nil is the network.
func newClient(hook Webhook, over http.RoundTripper) (*client, error) {
	c := &client{cfg: hook.Config, http: &http.Client{Transport: over, CheckRedirect: sameHost}}
	if over != nil {
		return c, nil
	}
	// The operator typed this address: a server of the operator's own, on a private
	// address, is as good as any. Nothing else is dialled.
	u, err := url.Parse(hook.address())
	if err != nil {
		return nil, errors.New("the address is no URL") // Validate has looked; the error would quote it
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	guard, err := egress.NewGuard(egress.GuardConfig{Trusted: []string{net.JoinHostPort(u.Hostname(), port)}, AllowPrivate: true, AllowHTTP: true})
	if err != nil {
		return nil, err
	}
	transport, err := egress.NewTransport(egress.TransportConfig{Egress: hook.Proxy, Guard: guard, HeaderTimeout: sendTimeout, MaxConnections: 2})
	if err != nil {
		return nil, err
	}
	c.http.Transport = transport
	return c, nil
}

// close lets go of the connections.
func (c *client) close() { c.http.CloseIdleConnections() }

// sameHost follows a redirect that keeps the host, the scheme and the POST. Another
// host would get what the address and the headers keep secret.
func sameHost(r *http.Request, via []*http.Request) error {
	if first := via[0]; len(via) <= maxHops && r.Method == http.MethodPost && r.URL.Host == first.URL.Host && r.URL.Scheme == first.URL.Scheme {
		return nil
	}
	return http.ErrUseLastResponse
}

// send posts msg once. It returns what the service answered, in a line that can be
// shown, or the error of a service that did not take it: a *refusal, if waiting helps.
func (c *client) send(ctx context.Context, msg message) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	req, err := c.request(ctx, msg)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok { // its text has the address
			err = ue.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", sendTimeout)
		}
		return "", &refusal{said: c.safe(err.Error()), retry: true}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", &refusal{said: c.safe("reading the answer: " + err.Error()), retry: true}
	}
	answer = strings.TrimSpace(fmt.Sprintf("HTTP %d %s", resp.StatusCode, body))
	if no := c.judge(resp, body); no != nil {
		no.said = c.safe(no.said)
		return "", no
	}
	return c.safe(answer), nil
}

// request writes the request for msg.
func (c *client) request(ctx context.Context, msg message) (*http.Request, error) {
	p := services[c.cfg.Kind].post(c.cfg, msg)
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // it is no page, and a person reads it when it goes wrong
	if err := enc.Encode(p.body); err != nil {
		return nil, err
	}
	text := bytes.TrimSuffix(body.Bytes(), []byte("\n"))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("the address is no URL") // the error would quote it
	}
	if p.headers != nil {
		req.Header = p.headers
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", egress.UserAgent)
	if c.cfg.Kind == "json" && c.cfg.Secret != "" {
		mac := hmac.New(sha256.New, []byte(c.cfg.Secret.Reveal()))
		mac.Write(text)
		req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	for name, value := range c.cfg.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value.Reveal()
		}
		req.Header.Set(name, value.Reveal())
	}
	return req, nil
}

// judge says whether the answer is a refusal; nil: the message was taken.
func (c *client) judge(resp *http.Response, body []byte) *refusal {
	no := &refusal{
		said:  strings.TrimSpace(fmt.Sprintf("HTTP %d %s", resp.StatusCode, body)),
		after: wire.ParseRetryAfter(resp.Header.Get("Retry-After"), wire.SentAt(resp.Header, time.Now())),
	}
	taken := services[c.cfg.Kind].taken
	page, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch status := resp.StatusCode; {
	case status/100 == 2 && page == "text/html": // a captive portal, and no service of these
		return &refusal{said: "the answer is a web page: something else answers at that address", retry: true}
	case status/100 == 2 && taken != nil:
		return taken(body)
	case status/100 == 2:
		return nil
	case status/100 == 3:
		no.said = fmt.Sprintf("HTTP %d: it redirects elsewhere, which is not followed: write the address that it leads to", status)
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		no.retry = true
		if taken != nil { // which may say how long to wait
			if more := taken(body); more != nil {
				no.after = max(no.after, more.after)
			}
		}
	}
	return no
}

// Error returns what the service said.
func (r *refusal) Error() string { return r.said }

// safe makes a text fit to be shown: clipped, printable, and without the secrets,
// which a service or a proxy might repeat.
func (c *client) safe(text string) string {
	secrets := []string{c.cfg.address(), c.cfg.Token.Reveal(), c.cfg.Secret.Reveal()}
	if u, err := url.Parse(c.cfg.address()); err == nil && services[c.cfg.Kind].url != c.cfg.address() {
		secrets = append(secrets, u.RequestURI(), u.RawQuery, strings.Trim(u.Path, "/"))
		for _, values := range u.Query() {
			secrets = append(secrets, values...)
		}
		secrets = append(secrets, path.Base(u.Path)) // the end is what names a hook or a topic
	}
	for _, v := range c.cfg.Headers {
		secrets = append(secrets, v.Reveal())
	}
	return wire.Clip(pullchain.HideSecrets(text, secrets))
}

// catalogue is the language of the webhook.
func (c Config) catalogue() *messages.Catalogue { return messages.In(c.Lang) }

// Test posts a test message by hook, and returns what the service answered. The error
// says what the service had against it; no secret is in either.
func Test(ctx context.Context, hook Webhook, from Sender) (answer string, err error) {
	c, err := newClient(hook, nil)
	if err != nil {
		return "", err
	}
	defer c.close()
	return c.send(ctx, trial(hook.catalogue(), from, time.Now()))
}
