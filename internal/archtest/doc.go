// Package archtest holds the shape of the tree: which package may import which,
// what is documented, how long files and functions get, and which modules the
// program needs. It has tests only. They parse the source files, whatever their
// build tags, so they need neither the network nor the go command.
package archtest
