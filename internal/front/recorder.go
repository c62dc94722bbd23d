package front

import (
	"errors"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/pullchain/pullchain/internal/traffic"
)

// A recorder is a ResponseWriter that remembers what went out, and drops a client
// that does not take it.
type recorder struct {
	http.ResponseWriter
	pace   pacer
	status int             // 0 until the headers are sent
	bytes  int64           // of the body
	flight *traffic.Flight // knows when the request came, and is told of the bytes
	ttfb   time.Duration   // from the request to the headers

	values [12]string // of headers: most answers have no more
	used   int
}

// setHeader sets a header by its canonical name: what Header.Set does, without
// looking at the name and without an allocation for each.
func (w *recorder) setHeader(canonical, value string) {
	if w.used == len(w.values) {
		w.Header().Set(canonical, value)
		return
	}
	w.values[w.used] = value
	w.used++
	w.Header()[canonical] = w.values[w.used-1 : w.used : w.used]
}

// WriteHeader sends the headers and starts the clock of a slow client.
func (w *recorder) WriteHeader(status int) {
	now := time.Now()
	if w.status == 0 {
		w.status = status
		w.ttfb = now.Sub(w.flight.At)
	}
	w.pace.allow(now)
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body and counts it. It sets no deadline: small answers
// have that of WriteHeader, and bodies go through writePaced.
func (w *recorder) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.sent(int64(n))
	return n, err
}

// sent counts bytes of the body.
func (w *recorder) sent(n int64) {
	w.bytes += n
	w.flight.Sent(w.bytes)
}

// writePaced is Write within the time that the client has. An error is the
// client's.
func (w *recorder) writePaced(p []byte) (int64, error) {
	return w.pace.send(func() (int64, error) {
		n, err := w.Write(p)
		return int64(n), err
	})
}

// takesFiles reports whether a file can go out as it is: by sendfile, if what is
// below net/http is a TCP connection. TLS has to see the bytes, and so has HTTP/2.
func (w *recorder) takesFiles(r *http.Request) bool {
	_, ok := w.ResponseWriter.(io.ReaderFrom)
	return ok && r.TLS == nil && r.ProtoMajor == 1
}

// sendFile sends the next n bytes of file within the time that the client has,
// and returns how many of them it did; fewer without an error means that the file
// has no more.
//
// net/http and net make a sendfile of it because they see an io.LimitedReader of
// an *os.File and nothing around either (net/sendfile.go; http.response.ReadFrom,
// which copies the first 512 bytes so that they leave together with the headers).
func (w *recorder) sendFile(file *os.File, n int64) (int64, error) {
	sent, err := w.pace.send(func() (int64, error) {
		return w.ResponseWriter.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: file, N: n})
	})
	w.sent(sent)
	if errors.Is(err, syscall.EIO) {
		return sent, readFailed(err) // sendfile reads, too
	}
	return sent, err
}

// flush sends what net/http holds back, within the time that the client has.
func (w *recorder) flush() error {
	_, err := w.pace.send(func() (int64, error) {
		if err := w.pace.rc.Flush(); !errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
		return 0, nil
	})
	return err
}
