package simnet

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The functions of this file return faults that are often wanted. The caller
// sets On, Method, Match, Skip and Times in the result as needed.

const htmlType = "text/html; charset=UTF-8"

// TooMany is a bare 429, without Retry-After and without a body in OCI words.
func TooMany() Fault { return Fault{Status: http.StatusTooManyRequests} }

// TooManyAfter is a 429 with Retry-After: seconds (rounded up), or a date.
func TooManyAfter(d time.Duration, date bool) Fault {
	return Fault{
		Respond: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", retryAfter(d, date))
			fail(w, r, http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests")
		}),
	}
}

// HubQuota429 is Docker Hub's answer to a spent quota, without counting
// anything. It is for GETs of manifests.
func HubQuota429() Fault {
	return Fault{On: Manifests, Method: http.MethodGet, Status: http.StatusTooManyRequests,
		Body: string(errorBody("TOOMANYREQUESTS", quotaText)),
		Header: map[string]string{
			"Content-Type":        "application/json",
			"ratelimit-limit":     "100;w=21600",
			"ratelimit-remaining": "0;w=21600",
		}}
}

// HAP429 is Docker Hub's abuse limit: plain text, on every path
// (hub-feedback #1907).
func HAP429() Fault {
	return Fault{Status: http.StatusTooManyRequests, Body: "Too Many Requests (HAP429).\n",
		Header: map[string]string{"Content-Type": "text/plain"}}
}

// GHCR429 is GHCR's limit of requests per minute, which is over in a
// millisecond (falcosecurity/plugins #1069).
func GHCR429() Fault {
	return Fault{Status: http.StatusTooManyRequests,
		Body:   string(errorBody("TOOMANYREQUESTS", "retry-after: 1.16ms, allowed: 44000/minute")),
		Header: map[string]string{"Content-Type": "application/json"}}
}

// Cloudflare is one of Cloudflare's own pages: status 502 to 530 with the
// error code ("1016" goes with 530), as HTML with a CF-RAY.
func Cloudflare(status int, errorCode string) Fault {
	body := fmt.Sprintf("<!DOCTYPE html>\n<html><head><title>Error %s | sim</title></head><body><h1>Error %s</h1><p>Ray ID: 8f00000000000000</p></body></html>\n", errorCode, errorCode)
	return Fault{Status: status, Body: body, Header: map[string]string{
		"Content-Type": htmlType, "Server": "cloudflare", "CF-RAY": "8f00000000000000-SIM",
	}}
}

// Cloudflare1015 is Cloudflare's "you are being rate limited": 429 in HTML.
func Cloudflare1015() Fault { return Cloudflare(http.StatusTooManyRequests, "1015") }

// Cloudflare1027 is a Worker whose daily quota is used up: 429 in HTML.
func Cloudflare1027() Fault { return Cloudflare(http.StatusTooManyRequests, "1027") }

// HTML200 is the page of a captive portal or a parked domain.
func HTML200() Fault {
	return Fault{Status: http.StatusOK, Body: "<!DOCTYPE html><html><body>Please sign in to the network</body></html>\n",
		Header: map[string]string{"Content-Type": htmlType}}
}

// WrongType answers with another Content-Type.
func WrongType(mediaType string) Fault {
	return Fault{Header: map[string]string{"Content-Type": mediaType}}
}

// WrongDigest answers with a Docker-Content-Digest that is not the content's.
func WrongDigest() Fault {
	return Fault{Header: map[string]string{"Docker-Content-Digest": "sha256:" + strings.Repeat("0", 64)}}
}

// ExpiredURL is S3's answer to a signed URL that is too old.
func ExpiredURL() Fault {
	return Fault{On: Blobs, Status: http.StatusForbidden, Body: xmlError("AccessDenied", "Request has expired"),
		Header: map[string]string{"Content-Type": "application/xml"}}
}

// HugeManifest answers with a JSON document of size bytes, with or without a
// Content-Length.
func HugeManifest(size int64, length bool) Fault {
	return Fault{On: Manifests, Respond: huge(size, length, TypeOCIManifest)}
}

// HugeBody answers with size bytes of JSON, for token servers and lists.
func HugeBody(size int64) Fault { return Fault{Respond: huge(size, false, "application/json")} }

// huge answers with a document that is valid JSON to its end: a reader without a
// limit does not notice before its memory is full.
func huge(size int64, length bool, mediaType string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		if length {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		}
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return
		}
		const head, tail = `{"schemaVersion":2,"pad":"`, `"}`
		pad := io.LimitReader(zeros{}, size-int64(len(head)+len(tail)))
		_, _ = io.Copy(w, io.MultiReader(strings.NewReader(head), pad, strings.NewReader(tail)))
	})
}

// zeros is an endless reader of the digit.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// RedirectTo answers 307 to a URL: a private address, plain http, anything.
func RedirectTo(url string) Fault {
	return Fault{Status: http.StatusTemporaryRedirect, Header: map[string]string{"Location": url}}
}

// RedirectLoop answers 307 to the very URL that was asked.
func RedirectLoop() Fault {
	return Fault{Respond: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		redirect(w, r.URL.RequestURI())
	})}
}

// RedirectChain answers 307 to ever new URLs of the same server.
func RedirectChain() Fault {
	return Fault{Respond: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		hop, _ := strconv.Atoi(q.Get("hop"))
		q.Set("hop", strconv.Itoa(hop+1))
		redirect(w, r.URL.Path+"?"+q.Encode())
	})}
}

func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
}
