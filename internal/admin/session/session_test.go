package session_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/internal/admin/session"
)

func TestLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := session.New()
		first := s.Begin()
		if !s.Valid(first) || s.Valid("") || s.Valid(first+"x") || s.Valid(session.NewID()) {
			t.Fatal("one login, and another identifier is as good")
		}
		time.Sleep(session.Life - time.Nanosecond)
		if !s.Valid(first) {
			t.Error("it ended too early")
		}
		time.Sleep(time.Nanosecond)
		if s.Valid(first) {
			t.Error("it holds for ever")
		}
		ended := s.Begin()
		s.End(ended)
		if s.Valid(ended) {
			t.Error("it holds after its end")
		}
	})
}

// A browser that never comes back must not fill the memory.
func TestLoginsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := session.New()
		first := s.Begin()
		time.Sleep(time.Second)
		second := s.Begin()
		for range 99 {
			time.Sleep(time.Second)
			s.Begin()
		}
		if s.Valid(first) || !s.Valid(second) {
			t.Errorf("after 101 logins: the first holds %t, the second %t", s.Valid(first), s.Valid(second))
		}
	})
}

func TestFormTokens(t *testing.T) {
	t.Parallel()
	s, other := session.New(), session.New()
	a, b := session.NewID(), session.NewID()
	switch {
	case !s.CheckForm(a, s.FormToken(a)):
		t.Error("a form's own token is refused")
	case s.CheckForm(b, s.FormToken(a)):
		t.Error("the token of another browser passes")
	case s.CheckForm("", s.FormToken("")):
		t.Error("no cookie passes")
	case s.CheckForm(a, "") || s.CheckForm(a, a):
		t.Error("no token passes")
	case other.CheckForm(a, s.FormToken(a)):
		t.Error("the token of another process passes")
	}
}

func TestTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries session.Tries
		a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:1::1")
		sameNet := netip.MustParseAddr("2001:db8::ffff")
		for range 5 {
			if tries.Wait(a) != 0 {
				t.Fatal("it has to wait too early")
			}
			tries.Wrong(a)
			time.Sleep(time.Second)
		}
		if got := tries.Wait(a); got != 55*time.Second {
			t.Errorf("after five wrong tries it waits %s", got)
		}
		if tries.Wait(sameNet) == 0 || tries.Wait(b) != 0 {
			t.Error("the same network does not wait, or another does")
		}
		time.Sleep(55 * time.Second)
		if tries.Wait(a) != 0 {
			t.Error("a minute later it still waits")
		}
	})
}

// An attacker with many addresses gets no more guesses than the table has places.
func TestTriesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries session.Tries
		addr := netip.MustParseAddr("10.0.0.0")
		for range 4096 {
			addr = addr.Next()
			tries.Wrong(addr)
		}
		if tries.Wait(addr) != 0 {
			t.Error("one that is counted has to wait")
		}
		if tries.Wait(addr.Next()) == 0 {
			t.Error("one more has not to wait")
		}
		time.Sleep(time.Minute)
		if tries.Wait(addr.Next()) != 0 {
			t.Error("a minute later there is no place")
		}
	})
}
