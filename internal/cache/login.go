package cache

import "github.com/pullchain/pullchain"

// anybody stands for a login where none was needed.
const anybody = "-"

// loginOf names the login that an answer took.
func loginOf(resp pullchain.Response) string {
	if !resp.Private {
		return anybody
	}
	return resp.Login
}

// stands reports whether what was proved by a login still counts: a reload may
// have taken the login out of the configuration, or put another in its place.
func (r *registry) stands(login string) bool {
	return login == anybody || r.holds == nil || r.holds(login)
}

// judges returns who can say that what a login has fetched is not there, or not
// for us: to a mirror without a login nothing of it has ever been there. Of what
// nobody had to log in for everybody can.
func (r *registry) judges(login string) func(upstream string) bool {
	if login == anybody || r.knows == nil {
		return func(string) bool { return true }
	}
	return r.knows
}
