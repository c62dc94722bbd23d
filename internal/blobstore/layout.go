package blobstore

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// The layout under Dir. Whatever has another name is not ours and is left alone.
//
//	version                          the format, "1"
//	lock                             held while a process has the store open
//	blobs/sha256/ab/ab12…            whole content; its mtime is its last use
//	blobs/sha256/ab/ab12….json       its Meta
//	partial/sha256-ab12….part, .log  a Spool and its journal
//	records/<kind>/<hex>             a record; hex is the sha256 of kind and name
//	corrupt/sha256-ab12…             a quarantined file
//
// Names that begin with ".tmp-" are files that have not got their name yet.
const (
	blobsDir    = "blobs"
	partialDir  = "partial"
	recordsDir  = "records"
	corruptDir  = "corrupt"
	lockName    = "lock"
	versionName = "version"
	format      = 1

	metaSuffix = ".json"
	partSuffix = ".part"
	logSuffix  = ".log"
	tempPrefix = ".tmp-"

	dirMode  = 0o700
	fileMode = 0o600
)

// algorithms are the digest algorithms that have files, with their hex lengths.
var algorithms = []struct {
	name string
	hex  int
}{{"sha256", 64}, {"sha512", 128}}

// parse splits a digest. It is the only door from a digest to a file name, and
// lets nothing through but lower-case hex of the right length (CVE-2024-3727).
func parse(d digest.Digest) (algorithm, hex string, err error) {
	algorithm, hex, _ = strings.Cut(string(d), ":")
	for _, a := range algorithms {
		if a.name == algorithm && a.hex == len(hex) && isHex(hex) {
			return algorithm, hex, nil
		}
	}
	return "", "", fmt.Errorf("%.80q is not a sha256 or sha512 digest", string(d))
}

// isHex reports whether s is lower-case hex alone.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// A tree is the directory of a store: how its files are named and written. It knows
// nothing of what they are worth, and is safe for concurrent use.
type tree struct {
	dir   string
	disk  disk
	mark  string // of this process, in the names of temporary files
	temps atomic.Uint64
}

// A place is where the files of a digest are.
type place struct {
	blob, meta string // whole
	part, log  string // on its way in
	corrupt    string // quarantined
}

// place returns the paths of d, or an error when d is no digest.
func (t *tree) place(d digest.Digest) (place, error) {
	algorithm, hex, err := parse(d)
	if err != nil {
		return place{}, err
	}
	flat := algorithm + "-" + hex
	blob := filepath.Join(t.dir, blobsDir, algorithm, hex[:2], hex)
	return place{
		blob:    blob,
		meta:    blob + metaSuffix,
		part:    filepath.Join(t.dir, partialDir, flat+partSuffix),
		log:     filepath.Join(t.dir, partialDir, flat+logSuffix),
		corrupt: filepath.Join(t.dir, corruptDir, flat),
	}, nil
}

// blobPath returns the path of whole content whose digest is known to be one.
func (t *tree) blobPath(d digest.Digest) string {
	algorithm, hex, _ := strings.Cut(string(d), ":")
	return t.dir + sep + blobsDir + sep + algorithm + sep + hex[:2] + sep + hex
}

const sep = string(filepath.Separator)

// unflatten reads the digest back from "sha256-ab12…".
func unflatten(name string) (digest.Digest, bool) {
	algorithm, hex, _ := strings.Cut(name, "-")
	d := digest.Digest(algorithm + ":" + hex)
	_, _, err := parse(d)
	return d, err == nil
}

// temp returns a new name in the folder of path for a file that will be renamed
// to it. It carries this process's mark, so that a sweep can tell what an earlier
// process left.
func (t *tree) temp(path string) string {
	return filepath.Join(filepath.Dir(path), tempPrefix+t.mark+"-"+strconv.FormatUint(t.temps.Add(1), 36))
}

// abandoned reports whether name is a temporary file of an earlier process.
func (t *tree) abandoned(name string) bool {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	return ok && !strings.HasPrefix(rest, t.mark+"-")
}
