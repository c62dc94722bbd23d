package simnet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// cdnPrefix begins the path of every object: /registry-v2/<hub>/<digest>/data.
const cdnPrefix = "/registry-v2/"

// splitObject takes the path of an object apart.
func splitObject(path string) (hub, ref string) {
	parts := strings.Split(strings.TrimPrefix(path, cdnPrefix), "/")
	if len(parts) != 3 {
		return "", ""
	}
	return parts[0], parts[1]
}

// A CDN is an origin of signed, expiring objects in the manner of S3: it
// refuses the Authorization header, and knows nothing of registries.
type CDN struct {
	*Server
	ttl time.Duration

	mu      sync.Mutex
	key     string
	sources map[string]source
}

// CDNConfig configures a CDN.
type CDNConfig struct {
	Origin
	TTL time.Duration // life of a signed URL; 0 is 20 minutes
}

// AddCDN starts a CDN. A hub makes its own unless it is given one.
func (n *Net) AddCDN(cfg CDNConfig) *CDN {
	c := &CDN{ttl: cfg.TTL, key: "first", sources: map[string]source{}}
	if c.ttl == 0 {
		c.ttl = 20 * time.Minute
	}
	cfg.Handler = c
	c.Server = n.start(cfg.Origin, nil)
	return c
}

// serves lets hub's blobs be had here.
func (c *CDN) serves(hub string, from source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources[hub] = from
}

// ExpireURLs makes every URL signed so far expired.
func (c *CDN) ExpireURLs() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key += "+"
}

// SignedURL returns a URL of a blob that works until its time is over.
func (c *CDN) SignedURL(hub, repo string, d digest.Digest) string {
	path := cdnPrefix + hub + "/" + d.String() + "/data"
	expires := strconv.FormatInt(time.Now().Add(c.ttl).UnixMilli(), 10)
	q := url.Values{"repo": {repo}, "Expires": {expires}, "Signature": {c.sign(path, repo, expires)}}
	return c.PublicURL() + path + "?" + q.Encode()
}

// sign signs a path until a time, as S3 and CloudFront do: the URL is all that a
// client needs, and it works for nothing else.
func (c *CDN) sign(path, repo, expires string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	mac := hmac.New(sha256.New, []byte(c.key))
	_, _ = fmt.Fprint(mac, path, "\n", repo, "\n", expires)
	return hex.EncodeToString(mac.Sum(nil))
}

// ServeHTTP implements http.Handler; the server that is part of it calls it.
func (c *CDN) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "simnet-cdn")
	if r.Header.Get("Authorization") != "" {
		// S3 wants one kind of authentication, and the query is one already.
		failXML(w, r, http.StatusBadRequest, "InvalidArgument",
			"Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
		return
	}
	q := r.URL.Query()
	hub, ref := splitObject(r.URL.Path)
	if !hmac.Equal([]byte(q.Get("Signature")), []byte(c.sign(r.URL.Path, q.Get("repo"), q.Get("Expires")))) {
		failXML(w, r, http.StatusForbidden, "AccessDenied", "Request has expired")
		return
	}
	if until, err := strconv.ParseInt(q.Get("Expires"), 10, 64); err != nil || time.Now().UnixMilli() > until {
		failXML(w, r, http.StatusForbidden, "AccessDenied", "Request has expired")
		return
	}
	c.mu.Lock()
	from := c.sources[hub]
	c.mu.Unlock()
	d := digest.Digest(ref)
	if from == nil || !from.hasBlob(r.Context(), q.Get("repo"), d) {
		failXML(w, r, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	from.serveBlob(w, r, q.Get("repo"), d)
}

// failXML answers with an error in S3's words.
func failXML(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	body := xmlError(code, message)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body)
	}
}

func xmlError(code, message string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error><Code>" + code + "</Code><Message>" + message +
		"</Message><RequestId>SIMNET</RequestId><HostId>simnet</HostId></Error>"
}
