package front

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A certKeeper serves the certificate that is in two files, also after they were
// renewed. A pair that cannot be used leaves the old one in place.
type certKeeper struct {
	certFile, keyFile string
	log               *slog.Logger

	mu    sync.Mutex
	cert  *tls.Certificate
	stamp certStamp // of the files when they were last read, successfully or not
}

// A certStamp tells whether the files have changed. Size is in it because a file
// may be replaced twice within one tick of the file system's clock.
type certStamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// load reads the files.
func (k *certKeeper) load() error {
	// The stamp is taken before the files are read: a pair that is replaced
	// meanwhile has another one, and is read again at the next handshake.
	stamp, err := k.stat()
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return fmt.Errorf("tls_cert %s, tls_key %s: %w", k.certFile, k.keyFile, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cert, k.stamp = &cert, stamp
	return nil
}

// stat returns the stamp of the files as they are now. Either one missing is an
// error: a renewal that has written only one of them so far is none yet.
func (k *certKeeper) stat() (certStamp, error) {
	cert, err := os.Stat(k.certFile)
	if err != nil {
		return certStamp{}, fmt.Errorf("tls_cert: %w", err)
	}
	key, err := os.Stat(k.keyFile)
	if err != nil {
		return certStamp{}, fmt.Errorf("tls_key: %w", err)
	}
	return certStamp{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}

// certificate is tls.Config.GetCertificate. Two stats a handshake are nothing
// beside the handshake.
func (k *certKeeper) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if stamp, err := k.stat(); err == nil && k.changed(stamp) {
		if err := k.load(); err != nil {
			k.log.Warn("the renewed TLS certificate cannot be used; the old one stays", "error", err.Error())
		} else {
			k.log.Info("TLS certificate renewed", "file", k.certFile)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cert, nil
}

// changed notes the stamp and reports whether it is new: a pair that cannot be
// used is tried, and complained of, once.
func (k *certKeeper) changed(stamp certStamp) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if stamp == k.stamp {
		return false
	}
	k.stamp = stamp
	return true
}
