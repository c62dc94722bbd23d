package admin

// A Flash is what became of the form that a browser sent last.
type Flash struct {
	OK   bool   // it was done
	Text string // in the viewer's language
}
