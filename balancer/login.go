package balancer

// loginOf returns the fingerprint of l's login, or "".
func (l *Lane) loginOf() string {
	if up, ok := l.up.(interface{ Login() string }); ok {
		return up.Login()
	}
	return ""
}

// Holds reports whether one of the lanes has the login of that fingerprint: whether
// what it has fetched is still ours to read.
func (b *Balancer) Holds(login string) bool {
	for _, l := range b.lanes {
		if login != "" && l.loginOf() == login {
			return true
		}
	}
	return false
}

// Knows reports whether the named upstream's "no" says something about content that
// took a login: it has one itself, or is the registry's own word. To a mirror
// without either all that is private is simply not there.
func (b *Balancer) Knows(upstream string) bool {
	for _, l := range b.lanes {
		if l.Name() == upstream {
			return l.cfg.Authoritative || l.loginOf() != ""
		}
	}
	return true
}
