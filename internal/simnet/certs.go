package simnet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// An authority is a certificate authority with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// The authorities are made once per process, so that a client's pool of roots
// fits every Net: trusted signs the good certificates, stranger those that a
// client must refuse.
var (
	trusted  = sync.OnceValue(func() *authority { return newAuthority("simnet CA") })
	stranger = sync.OnceValue(func() *authority { return newAuthority("simnet stranger CA") })
)

// newAuthority makes a CA. It begins an hour ago, for machines whose clocks differ
// a little.
func newAuthority(name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("simnet: key of %s: %v", name, err))
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(365 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(fmt.Sprintf("simnet: certificate of %s: %v", name, err))
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(fmt.Sprintf("simnet: certificate of %s: %v", name, err))
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate, of a server or of a client, for names (host names and IPs)
// that is valid until notAfter.
func (a *authority) issue(names []string, notAfter time.Time) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("simnet: server key: %v", err))
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    notAfter.Add(-90 * 24 * time.Hour),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
			continue
		}
		tmpl.DNSNames = append(tmpl.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		panic(fmt.Sprintf("simnet: server certificate: %v", err))
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// serial is a random serial number. Two certificates of one CA must not share one
// (RFC 5280, 4.1.2.2).
func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(fmt.Sprintf("simnet: serial number: %v", err))
	}
	return n
}

// CAPEM returns the certificate, in PEM, that signs every server of every Net
// of this process: what belongs in a client's ca_file.
func (n *Net) CAPEM() []byte { return trusted().pem }

// ClientPEM returns a new certificate, and its key, for a client of that name: what a server
// with [Origin].ClientAuth takes.
func (n *Net) ClientPEM(name string) (cert, key []byte) {
	c := trusted().issue([]string{name}, time.Now().Add(60*24*time.Hour))
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// CertPool returns a new pool that holds only the certificate of
// [Net.CAPEM].
func (n *Net) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(trusted().cert)
	return pool
}
