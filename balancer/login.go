package balancer

// Holds reports whether one of the lanes has the login of that fingerprint: whether
// what it has fetched is still ours to read.
func (b *Balancer) Holds(login string) bool {
	for _, l := range b.lanes {
		if login != "" && l.up.Login() == login {
			return true
		}
	}
	return false
}

// Knows reports whether the named upstream's "no" says something about content that
// took a login: it has one itself, or is the registry's own word. To a mirror
// without either all that is private is simply not there.
func (b *Balancer) Knows(upstream string) bool {
	l := b.lane(upstream)
	return l == nil || l.cfg.Authoritative || l.up.Login() != ""
}
