package cache

import (
	"testing"

	"github.com/pullchain/pullchain/internal/fill"
)

// The rule of who may say that a repository has content which is here: over who gave
// it, who says yes now, and how.
func TestYes(t *testing.T) {
	t.Parallel()
	said := func(login string) yes { return yes{login: login} }
	shown := func(login string) yes { return yes{login: login, shown: true} }
	const nobody = fill.Anonymous
	public, ann := givers{public: true}, givers{logins: []string{"ann"}}
	both, publicAnn, unknown := givers{logins: []string{"bob", "ann"}}, givers{public: true, logins: []string{"ann"}}, givers{}
	for _, tt := range []struct {
		name string
		gave givers
		now  yes
		want bool
	}{
		{"public, said without a login", public, said(nobody), true},
		{"public, said with one", public, said("ann"), true},
		{"public by now, said without a login", publicAnn, said(nobody), true},
		{"a login, said by it", ann, said("ann"), true},
		{"a login, shown by it", ann, shown("ann"), true},
		{"a login, said without one", ann, said(nobody), false},
		{"a login, shown without one", ann, shown(nobody), true},
		{"a login, said by another", ann, said("bob"), false},
		{"a login, shown by another", ann, shown("bob"), true},
		{"a login, said by one that is not known", ann, said(""), false},
		{"two logins, said by the first", both, said("bob"), true},
		{"two logins, said by the second", both, said("ann"), true},
		{"two logins, said by a third", both, said("eve"), false},
		{"two logins, said without one", both, said(nobody), false},
		{"not known, said by a login", unknown, said("ann"), false},
		{"not known, said without one", unknown, said(nobody), false},
		{"not known, shown without one", unknown, shown(nobody), true},
		{"not known, shown by a login", unknown, shown("ann"), true},
	} {
		if got := tt.gave.count(tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
