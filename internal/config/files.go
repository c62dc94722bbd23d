package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/access"
	"github.com/pullchain/pullchain/internal/admin"
)

const (
	// maxSecret is how long a file with one secret may be. The longest that
	// are used are JWTs of a few KiB.
	maxSecret = 64 << 10

	// maxPEM is how long a file of certificates may be: four times the bundle
	// of all public CAs.
	maxPEM = 1 << 20
)

// Load reads the configuration file at path, and the secrets and certificates
// that it points at, whose paths count from the file's folder, as that of the
// cache does. Variables come from the environment of the process. The empty path
// is [Default].
//
// The error joins one *[Error] for each mistake.
func Load(path string) (*Config, error) {
	if path == "" {
		return Default(), nil
	}
	data, _, err := readFile(path, maxFile)
	if err != nil {
		return nil, &Error{File: path, Message: reason(err)}
	}
	cfg, err := parse(path, data, os.LookupEnv, func(name string, limit int64) ([]byte, fs.FileMode, string, error) {
		name = besideFile(path, name)
		data, mode, err := readFile(name, limit)
		return data, mode, name, err
	})
	if err != nil {
		return nil, err
	}
	if cfg.Admin.Socket != "" {
		cfg.Admin.Socket = besideFile(path, cfg.Admin.Socket)
	}
	if dir := cfg.Admin.StateDir; dir != "" && dir != admin.StateOff {
		cfg.Admin.StateDir = besideFile(path, dir)
	}
	if cfg.Cache.Dir != "" {
		cfg.Cache.Dir = besideFile(path, cfg.Cache.Dir)
	}
	return cfg, nil
}

// besideFile returns where name is, which the configuration at path has.
func besideFile(path, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

// An opener reads a file that the configuration names, and says where it is.
type opener func(name string, limit int64) (data []byte, mode fs.FileMode, path string, err error)

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("is longer than %d bytes", limit)
	}
	return data, info.Mode(), err
}

// reason returns what err says, without the path that the message around it has.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// files reads what a configuration points at into it.
type files struct {
	doc  *document
	open opener
}

// read reads every file that cfg names. A secret that is missing is found at the
// start, and not by the first pull in the night.
func (f *files) read(cfg *Config) {
	f.secret(place{}.child("admin").child("token_file"), cfg.Admin.TokenFile, &cfg.Admin.Token)
	server := place{}.child("server")
	f.keyPair(server.child("tls_cert"), server.child("tls_key"), &cfg.Server.TLSCert, &cfg.Server.TLSKey)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		if i >= len(cfg.Listeners)-cfg.Also {
			l.TLSCert, l.TLSKey = cfg.Server.TLSCert, cfg.Server.TLSKey // which have been looked at
			continue
		}
		at := place{}.child("listener").item(i, l.Registry)
		f.keyPair(at.child("tls_cert"), at.child("tls_key"), &l.TLSCert, &l.TLSKey)
	}
	f.shared(place{}.child("access").child("origin_secret_file"), &cfg.Access.OriginSecretFile, access.CheckSecrets)
	f.shared(place{}.child("access").child("htpasswd_file"), &cfg.Access.HtpasswdFile, access.CheckHtpasswd)
	for name, e := range cfg.Egress {
		f.secret(place{}.child("egress").named(name).child("password_file"), e.PasswordFile, &e.Password)
		cfg.Egress[name] = e
	}
	f.readNotify(cfg)
	f.secret(place{}.child("traces").child("token_file"), cfg.Traces.TokenFile, &cfg.Traces.Token)
	for i := range cfg.Registries {
		r := &cfg.Registries[i]
		for j := range r.Upstreams {
			u := &r.Upstreams[j]
			at := place{}.child("registry").item(i, r.Name).child("upstream").item(j, u.Name)
			f.secret(at.child("password_file"), u.PasswordFile, &u.Password)
			f.secret(at.child("token_file"), u.TokenFile, &u.Token)
			f.authorities(at.child("ca_file"), u)
			if leaf := f.keyPair(at.child("client_cert"), at.child("client_key"), &u.ClientCert, &u.ClientKey); leaf != nil && time.Now().After(leaf.NotAfter) {
				f.doc.warn(at.child("client_cert"), "%s: is good until %s and no longer", u.ClientCert, leaf.NotAfter.Format(time.RFC3339))
			}
		}
	}
}

// secret reads the file called name, if there is a name, into s. The line end
// that editors leave is no part of the secret.
func (f *files) secret(at place, name string, s *pullchain.Secret) {
	if name == "" {
		return
	}
	data, mode, path, err := f.open(name, maxSecret)
	if err != nil {
		f.doc.fail(at, "%s: %s", path, reason(err))
		return
	}
	// Only the last line end goes. A password may end in a space, and one of
	// several lines is a mistake that the server would answer with a 401.
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case text == "":
		f.doc.fail(at, "%s: is empty", path)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		f.doc.fail(at, "%s: holds more than one line, or control characters", path)
	}
	f.private(at, mode, path)
	*s = pullchain.Secret(text)
}

// shared checks a file that is read again while it is in use, and sets name to where it is.
func (f *files) shared(at place, name *string, check func([]byte) error) {
	if *name == "" {
		return
	}
	data, mode, path, err := f.open(*name, maxPEM)
	if err != nil {
		f.doc.fail(at, "%s: %s", path, reason(err))
		return
	}
	if err := check(data); err != nil {
		f.doc.fail(at, "%s: %v", path, err)
	}
	f.private(at, mode, path)
	*name = path
}

// private warns of a file with secrets that every user of the machine can read.
func (f *files) private(at place, mode fs.FileMode, path string) {
	if mode.Perm()&0o007 != 0 && runtime.GOOS != "windows" {
		f.doc.warn(at, "every user of this machine can read %s: chmod o= %s", path, path)
	}
}

// authorities checks that u's CA file has certificates, and notes which.
func (f *files) authorities(at place, u *Upstream) {
	if u.CAFile == "" {
		return
	}
	data, _, path, err := f.open(u.CAFile, maxPEM)
	if err != nil {
		f.doc.fail(at, "%s: %s", path, reason(err))
		return
	}
	if !x509.NewCertPool().AppendCertsFromPEM(data) {
		f.doc.fail(at, "%s: holds no PEM certificate", path)
	}
	// The sum makes a CA that was replaced in place another configuration, for
	// which a reload builds a new upstream.
	sum := sha256.Sum256(data)
	u.CAFile, u.CASum = path, hex.EncodeToString(sum[:])
}

// keyPair checks that a certificate and a key belong together, which are read again while they are in
// use, and sets the names to where they are. It returns the certificate, or nil if there is none to use.
func (f *files) keyPair(atCert, atKey place, cert, key *string) *x509.Certificate {
	if *cert == "" || *key == "" {
		return nil
	}
	certPEM, _, certPath, err := f.open(*cert, maxPEM)
	if err != nil {
		f.doc.fail(atCert, "%s: %s", certPath, reason(err))
		return nil
	}
	keyPEM, mode, keyPath, err := f.open(*key, maxPEM)
	if err != nil {
		f.doc.fail(atKey, "%s: %s", keyPath, reason(err))
		return nil
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		f.doc.fail(atCert, "%s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	f.private(atKey, mode, keyPath)
	*cert, *key = certPath, keyPath
	return pair.Leaf
}
