package blobstore

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An object that cannot be placed is a misfit: a directory has its name, its folder is
// another user's, its sector is bad. That is its own fault as long as others can be
// placed: maxMisfits of them within misfitAge are the store's.
const (
	maxMisfits = 8
	misfitAge  = 10 * time.Minute
)

// onlyOne reports whether err is of one object while the store can be written, and
// remembers the object.
func (h *health) onlyOne(err error) bool {
	path := pathOf(err)
	rel, inside := strings.CutPrefix(path, h.tree.dir+sep)
	if !inside || !strings.Contains(rel, sep) || h.tree.tryWriting() != nil {
		return false
	}
	if strings.HasPrefix(filepath.Base(path), tempPrefix) { // a name that no other object has
		path = filepath.Dir(path)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(h.misfits, func(_ string, at time.Time) bool { return now.Sub(at) > misfitAge })
	if h.misfits == nil {
		h.misfits = map[string]time.Time{}
	}
	if _, known := h.misfits[path]; !known && len(h.misfits) >= maxMisfits-1 {
		return false
	}
	h.misfits[path] = now
	return true
}

// pathOf is the file that err is about, of a rename the name that was to be; or empty.
func pathOf(err error) string {
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.New
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Path
	}
	return ""
}
