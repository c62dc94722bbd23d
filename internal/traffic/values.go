package traffic

import "time"

// A Request is one request of a client that is over. All fields are always there.
type Request struct {
	ID           string    `json:"id"`     // the word that the access log and error answers have
	Pull         string    `json:"pull"`   // the ID of the pull that it belongs to; empty if to none
	At           time.Time `json:"at"`     // when it came
	Client       string    `json:"client"` // the family: docker, containerd, …
	Addr         string    `json:"addr"`
	UserAgent    string    `json:"user_agent"`
	Form         string    `json:"form"` // how the client named the registry
	Registry     string    `json:"registry"`
	Repo         string    `json:"repo"`
	Reference    string    `json:"reference"` // a tag or a digest
	Kind         string    `json:"kind"`      // manifest, blob, tags, referrers, ping, other
	Method       string    `json:"method"`
	Status       int       `json:"status"` // 499: the client went away
	Bytes        int64     `json:"bytes"`  // of the body that was sent
	TTFBMS       float64   `json:"ttfb_ms"`
	TookMS       float64   `json:"took_ms"`
	Cache        string    `json:"cache"`    // a [pullchain.CacheResult]
	Upstream     string    `json:"upstream"` // whose word the answer is; empty: the cache's
	Range        string    `json:"range"`    // that was asked for; empty: the whole
	Attempts     []Attempt `json:"attempts"`
	Code         string    `json:"code"`          // why it failed
	Error        string    `json:"error"`         // the text behind it
	Gone         bool      `json:"gone"`          // the client went away
	Failed       bool      `json:"failed"`        // it got an error, or an answer that was cut
	Degraded     bool      `json:"degraded"`      // it got what it asked for, and something was wrong on the way
	Resumes      int       `json:"resumes"`       // how often another attempt went on in the middle of the content
	ResumedBytes int64     `json:"resumed_bytes"` // where the last of them went on: bytes that were not fetched again
	Traceparent  string    `json:"-"`             // the client's word of the span that it belongs to; kept only while a reader wants it
}

// An Attempt is one try at one upstream behind a Request.
type Attempt struct {
	Upstream string  `json:"upstream"`
	Outcome  string  `json:"outcome"` // "ok", a [pullchain.Reason], or "not asked"
	Word     string  `json:"word"`    // the outcome in one word: "ok", the code, or the gate
	Code     string  `json:"code"`
	Status   int     `json:"status"` // the upstream's HTTP status; 0 if none came
	Text     string  `json:"text"`   // what the failure says of itself, the upstream's own words in it
	AtMS     float64 `json:"at_ms"`  // since the request came
	MS       float64 `json:"ms"`     // until headers, a failure, or the gate's refusal
	Offset   int64   `json:"offset"` // where in the blob it began
	Gate     string  `json:"gate"`   // that kept the lane from being asked
	RetryS   int64   `json:"retry_s"`
	Hedge    bool    `json:"hedge"`   // it was begun beside another
	Cut      bool    `json:"cut"`     // a body that had begun failed at Offset
	Trouble  bool    `json:"trouble"` // it tells of something wrong: not so a mirror that lacks the image, or the loser of a race
}

// The states of a Pull.
const (
	StateActive = "active"
	StateDone   = "done"
	StateFailed = "failed" // the last that the client asked for of something was an error
)

// A Pull is what one client asked of one image. The protocol has no pulls: requests
// of one address and family for one repository are one if no more than [PullGap] lies
// between them.
type Pull struct {
	ID           string         `json:"id"`
	Client       string         `json:"client"`
	Addr         string         `json:"addr"`
	Form         string         `json:"form"`
	Registry     string         `json:"registry"`
	Repo         string         `json:"repo"`
	Reference    string         `json:"reference"` // the tag that was asked for, else the manifest's digest
	Digest       string         `json:"digest"`    // of the manifest that was last sent; empty if none was
	Platform     string         `json:"platform"`  // as in linux/arm64/v8; empty if it is not known
	State        string         `json:"state"`     // active, done, failed
	Started      time.Time      `json:"started"`
	Updated      time.Time      `json:"updated"`      // of the last request's beginning or end
	LayersDone   int            `json:"layers_done"`  // sent whole in this pull; what the client has already it does not ask for
	LayersTotal  int            `json:"layers_total"` // of the manifests that were sent; 0 if none was
	Bytes        int64          `json:"bytes"`        // of bodies sent
	Total        int64          `json:"total"`        // of config and layers together, by the manifests; 0 if not known
	RateBPS      int64          `json:"rate_bps"`     // of the last seconds, in bytes
	InFlight     int            `json:"in_flight"`
	Upstreams    []string       `json:"upstreams"` // that served, in order of first use
	Cache        map[string]int `json:"cache"`     // answers by cache result
	Asked        int            `json:"asked"`     // requests that are over
	Failures     int            `json:"failures"`  // of them
	Degraded     int            `json:"degraded"`  // of them
	Resumes      int            `json:"resumes"`
	ResumedBytes int64          `json:"resumed_bytes"`
	Code         string         `json:"code"`     // of the last failure
	Contents     []Content      `json:"contents"` // configs and layers that are known of, those under way first
	Requests     []Request      `json:"requests"` // those still known, the oldest first; only of a pull that is asked for by itself
}

// A Content is a config or a layer of a Pull.
type Content struct {
	Digest   string `json:"digest"`
	Layer    bool   `json:"layer"`
	Size     int64  `json:"size"` // 0 if it is not known
	Sent     int64  `json:"sent"` // in this pull
	Done     bool   `json:"done"` // sent whole
	Active   bool   `json:"active"`
	Upstream string `json:"upstream"`
	Cache    string `json:"cache"`
}

// A Client is one runtime at one address.
type Client struct {
	Family     string    `json:"family"`
	Addr       string    `json:"addr"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	Forms      []string  `json:"forms"`
	Registries []string  `json:"registries"`
	Requests   uint64    `json:"requests"`
	Errors     uint64    `json:"errors"`
	LastPull   *LastPull `json:"last_pull"` // null if it has pulled nothing
}

// A LastPull is the last image that a client pulled.
type LastPull struct {
	ID    string    `json:"id"`
	Image string    `json:"image"`
	At    time.Time `json:"at"` // when it was begun
	State string    `json:"state"`
}

// IsDigest reports whether the reference is a digest, and not a tag.
func (r *Request) IsDigest() bool { return isDigest(r.Reference) }

// Image returns the name that a person would type for what was asked for.
func (r *Request) Image() string { return imageName(r.Registry, r.Repo, r.Reference) }

// Image returns the name that a person would type for what is pulled.
func (p *Pull) Image() string { return imageName(p.Registry, p.Repo, p.Reference) }
