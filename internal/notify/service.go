package notify

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// A need says whether a service takes a setting.
type need int

const (
	refused need = iota
	optional
	required
)

// all stands for every member of a chat.
const all = "all"

// A service is a kind of webhook: what it needs to be told of itself, how it wants
// its messages, and how it says that it has not taken one.
type service struct {
	url                 string // where it is for all; empty: each user has an address of their own
	token, secret, chat need
	ping                func(id string) string // how a member is called; nil: none can be
	pingsAll            bool
	check               func(*url.URL) error // whether that is an address of the service; may be nil

	// post writes msg as the service wants it.
	post func(c Config, msg message) post

	// taken looks into the answer of a service that says no by a 200; may be nil.
	taken func(body []byte) *refusal
}

// A post is one message on its way.
type post struct {
	url     string
	headers http.Header
	body    any // of JSON
}

// A refusal is an answer that says no.
type refusal struct {
	said  string
	retry bool          // it may take the same message later
	after time.Duration // not before; 0 if it does not say
}

// services are the kinds, by their word in the configuration.
var services map[string]service

func init() { // a table that refers to itself by way of Config.address
	services = map[string]service{
		"json":     {token: optional, secret: optional, post: postJSON},
		"ntfy":     {token: optional, check: hasTopic, post: postNtfy, taken: ntfyTaken},
		"slack":    {ping: slackPing, pingsAll: true, post: postSlack},
		"dingtalk": {secret: optional, ping: plainPing, pingsAll: true, post: postDingTalk, taken: dingTalkTaken},
		"feishu":   {secret: optional, ping: feishuPing, pingsAll: true, post: postFeishu, taken: feishuTaken},
		"wecom":    {ping: weComPing, post: postWeCom, taken: weComTaken},
		"telegram": {url: "https://api.telegram.org", token: required, chat: required, ping: plainPing, post: postTelegram, taken: telegramTaken},
	}
}

// Kinds returns the kinds of webhooks in order.
func Kinds() []string { return slices.Sorted(maps.Keys(services)) }

// plainPing calls a member by an at sign.
func plainPing(id string) string {
	if id[0] == '@' {
		return id
	}
	return "@" + id
}

// pings returns the calls of c's members.
func (c Config) pings() []string {
	var out []string
	for _, id := range c.Ping {
		out = append(out, services[c.Kind].ping(id))
	}
	return out
}

// withQuery returns address with more in its query.
func withQuery(address string, pairs ...string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address // Validate has looked
	}
	q := u.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// bearer is the header of a token, if there is one.
func (c Config) bearer() http.Header {
	h := http.Header{}
	if c.Token != "" {
		h.Set("Authorization", "Bearer "+c.Token.Reveal())
	}
	return h
}

// coded is the refusal for an answer whose code is not ok.
func coded(code int, said string, ok bool, later ...int) *refusal {
	if ok {
		return nil
	}
	return &refusal{said: fmt.Sprintf("%d %s", code, said), retry: slices.Contains(later, code)}
}

// notJSON is the refusal for what no service answers, but a web page in between does.
var notJSON = refusal{said: "the answer is not JSON: something else answers at that address", retry: true}
