package simnet

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// An Ending is how an answer stops being one.
type Ending uint8

// The endings.
const (
	EndNormal Ending = iota
	EndFIN           // the connection is closed (h2: the stream is reset)
	EndRST           // the connection is reset
	EndStall         // nothing more comes until the client leaves or the fault is lifted
	EndClean         // the body just ends, as if complete (needs NoLength to fool a client)
)

// A Fault is something that a server does wrong, given to [Server.Inject].
// The zero Fault applies to every request and changes nothing; fields add up,
// and so do several faults on one request.
type Fault struct {
	// Which requests.
	On     Class  // any of these classes; 0 is all
	Method string // "" is all
	Match  string // substring of the path and query
	Unless string // not those with this substring in path and query
	Ranged bool   // only those with a Range header
	Skip   int    // let that many matching requests pass first
	Times  int    // then apply to that many; 0 is all

	// Before the answer.
	Delay   time.Duration // slow headers
	Drop    Ending        // end before the headers: EndFIN, EndRST or EndStall
	Garbage string        // these raw bytes in place of an HTTP response (HTTP/1.1), then FIN

	// In place of the answer. Respond wins over Status.
	Respond http.Handler
	Status  int
	Body    string // of Status; "" with a Status is an empty body

	// On top of the answer, real or not.
	Header        map[string]string // set; "" deletes
	HeaderBytes   int               // add that many bytes of headers
	DateSkew      time.Duration     // added to the Date header
	As            int               // this status in the place of 200
	IgnoreRange   bool              // answer 200 with everything
	RangeShift    int64             // added to both ends of Content-Range; the bytes stay
	TotalShift    int64             // added to the total of Content-Range
	LengthShift   int64             // added to Content-Length
	NoLength      bool              // chunked, without Content-Length
	Gzip          bool              // Content-Encoding: gzip, really applied; Header may label it otherwise
	Flip          bool              // flip one bit of the byte at FlipAt
	FlipAt        int64             // offset in the whole resource, also under a Range
	Cut           Ending            // end the body early
	CutAt         int64             // after that many bytes of this body ...
	CutFraction   float64           // ... or, if set, after that part of its Content-Length
	BytesPerSec   int64             // throttle of the connection; 0 is none
	FirstByteWait time.Duration     // between headers and body
}

// armed is a fault on duty.
type armed struct {
	Fault
	seen, used int           // under the server's mu
	lifted     chan struct{} // closed when the fault is removed
	once       sync.Once
}

func (a *armed) lift() { a.once.Do(func() { close(a.lifted) }) }

// fits reports whether a is about such a request.
func (a *armed) fits(rt route, r *http.Request) bool {
	return (a.On == 0 || a.On&rt.class != 0) &&
		(a.Method == "" || a.Method == r.Method) &&
		(a.Match == "" || strings.Contains(r.URL.RequestURI(), a.Match)) &&
		(a.Unless == "" || !strings.Contains(r.URL.RequestURI(), a.Unless)) &&
		(!a.Ranged || r.Header.Get("Range") != "")
}

// Inject puts f on duty, after the faults that are there. The returned
// function takes it off again and frees the requests that it stalls; calling
// it twice does nothing.
func (s *Server) Inject(f Fault) (remove func()) {
	a := &armed{Fault: f, lifted: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, a)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		a.lift()
		s.faults = slices.DeleteFunc(s.faults, func(b *armed) bool { return a == b })
	}
}

// Clear removes every fault, mends the connections and brings the server
// near: SetRTT(0).
func (s *Server) Clear() {
	s.mu.Lock()
	for _, a := range s.faults {
		a.lift()
	}
	s.faults, s.rtt = nil, 0
	s.mu.Unlock()
	s.Mend()
}

// take returns the faults that apply to this request, and counts it.
func (s *Server) take(rt route, r *http.Request) []*armed {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*armed
	for _, a := range s.faults {
		if !a.fits(rt, r) {
			continue
		}
		a.seen++
		if a.seen <= a.Skip || a.Times > 0 && a.used >= a.Times {
			continue
		}
		a.used++
		out = append(out, a)
	}
	return out
}
