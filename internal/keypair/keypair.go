// Package keypair keeps a certificate and its key that are in two PEM files, also after they were
// renewed. It does not say for what they are, nor to which far end they are shown.
package keypair

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// A Pair is what the two files say. A pair that cannot be used leaves the old one in
// place. It is safe for concurrent use.
type Pair struct {
	certFile, keyFile string
	told              func(error)

	mu    sync.Mutex
	cert  *tls.Certificate
	stamp stamp // of the files when they were last read, successfully or not
}

// A stamp tells whether the files have changed. Size is in it because a file
// may be replaced twice within one tick of the file system's clock.
type stamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// Load reads the files, in PEM. told is called after each later reading, with what is wrong with the
// new pair or nil; it may itself be nil.
func Load(certFile, keyFile string, told func(error)) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, told: told}
	return p, p.load()
}

// load reads the files.
func (p *Pair) load() error {
	// The stamp is taken before the files are read: a pair that is replaced
	// meanwhile has another one, and is read again at the next look.
	now, err := p.stat()
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", p.certFile, p.keyFile, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cert, p.stamp = &cert, now
	return nil
}

// stat returns the stamp of the files as they are now. Either one missing is an
// error: a renewal that has written only one of them so far is none yet.
func (p *Pair) stat() (stamp, error) {
	cert, err := os.Stat(p.certFile)
	if err != nil {
		return stamp{}, err
	}
	key, err := os.Stat(p.keyFile)
	if err != nil {
		return stamp{}, err
	}
	return stamp{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}

// Look returns the pair as the files have it now. Two stats are nothing beside the
// handshake that it is for.
func (p *Pair) Look() *tls.Certificate {
	if now, err := p.stat(); err == nil && p.changed(now) {
		if err := p.load(); p.told != nil {
			p.told(err)
		}
	}
	return p.Last()
}

// Last returns the pair as it was at the last look: the one in use. Another pair is another pointer.
func (p *Pair) Last() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cert
}

// changed notes the stamp and reports whether it is new: a pair that cannot be
// used is tried, and complained of, once.
func (p *Pair) changed(now stamp) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now == p.stamp {
		return false
	}
	p.stamp = now
	return true
}
