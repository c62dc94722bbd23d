package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
)

// fakeDemo has one upstream, hub, that can stall.
type fakeDemo struct {
	fault string
	err   error
}

func (f *fakeDemo) Switches() []admin.Switch {
	return []admin.Switch{{Upstream: "hub", Fault: f.fault, Faults: []string{admin.NoFault, "stall"}}}
}

func (f *fakeDemo) Throw(_ context.Context, upstream, fault string) error {
	if upstream != "hub" || fault != "stall" && fault != admin.NoFault {
		return admin.ErrNoSwitch
	}
	f.fault = fault
	return f.err
}

// The switches are guarded as every action is, and nowhere outside of a demo.
func TestDemoSwitches(t *testing.T) {
	t.Parallel()
	const throw, body = "/api/v1/demo:throw", `{"upstream":"hub","fault":"stall"}`
	tests := []struct {
		name   string
		demo   *fakeDemo // nil: none
		method string
		path   string
		body   string
		header string // of Sec-Fetch-Site
		status int
		answer string // is contained
		fault  string // afterwards
	}{
		{"read", &fakeDemo{fault: "none"}, "GET", "/api/v1/demo", "", "", 200, `"fault": "none"`, "none"},
		{"throw", &fakeDemo{fault: "none"}, "POST", throw, body, "", 200, `"fault": "stall"`, "stall"},
		{"throw back", &fakeDemo{fault: "stall"}, "POST", throw, `{"upstream":"hub","fault":"none"}`, "", 200, `"fault": "none"`, "none"},
		{"another upstream", &fakeDemo{fault: "none"}, "POST", throw, `{"upstream":"hbu","fault":"stall"}`, "", 404, `"code":"unknown_switch"`, "none"},
		{"another fault", &fakeDemo{fault: "none"}, "POST", throw, `{"upstream":"hub","fault":"fire"}`, "", 404, `"code":"unknown_switch"`, "none"},
		{"one that jams", &fakeDemo{fault: "none", err: errors.New("it jams")}, "POST", throw, body, "", 500, "it jams", "stall"},
		{"a typo", &fakeDemo{fault: "none"}, "POST", throw, `{"upstraem":"hub"}`, "", 400, `"code":"bad_request"`, "none"},
		{"from another site", &fakeDemo{fault: "none"}, "POST", throw, body, "cross-site", 403, `"code":"cross_origin"`, "none"},
		{"a GET that would throw", &fakeDemo{fault: "none"}, "GET", throw, "", "", 405, `"code":"method_not_allowed"`, "none"},
		{"read without a demo", nil, "GET", "/api/v1/demo", "", "", 404, `"code":"not_found"`, ""},
		{"throw without a demo", nil, "POST", throw, body, "", 404, `"code":"not_found"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			from := admin.Sources{Snapshot: snapshot}
			if tt.demo != nil {
				from.Demo = tt.demo
			}
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			r.Host, r.Header = "127.0.0.1:5152", http.Header{"Content-Type": {"application/json"}}
			if tt.header != "" {
				r.Header.Set("Sec-Fetch-Site", tt.header)
			}
			w := httptest.NewRecorder()
			admin.New(admin.Config{}, from).ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) {
				t.Errorf("got %d %.300q, want %d with %q", w.Code, w.Body, tt.status, tt.answer)
			}
			if tt.demo != nil && tt.demo.fault != tt.fault {
				t.Errorf("the fault is %q, want %q", tt.demo.fault, tt.fault)
			}
		})
	}
}

// The page throws by a form, which carries the token that the page was given.
func TestDemoForm(t *testing.T) {
	t.Parallel()
	demo := &fakeDemo{fault: "none"}
	b := newBrowser(admin.Config{}, admin.Sources{Demo: demo})
	form := func(csrf, fault string) url.Values {
		return url.Values{"csrf": {csrf}, "upstream": {"hub"}, "fault": {fault}}
	}
	if w := b.send("/demo", form("wrong", "stall")); w.Code != 403 || demo.fault != "none" {
		t.Errorf("a form of another page: %d, %s", w.Code, demo.fault)
	}
	if w := b.send("/demo", form(b.csrf(), "stall"), "Sec-Fetch-Site", "cross-site"); w.Code != 403 || demo.fault != "none" {
		t.Errorf("from another site: %d, %s", w.Code, demo.fault)
	}
	if w := b.send("/demo", form(b.csrf(), "stall")); w.Code != 303 || w.Header().Get("Location") != "/#demo" || demo.fault != "stall" {
		t.Errorf("thrown: %d, %s", w.Code, demo.fault)
	}
	if w := b.send("/demo", form(b.csrf(), "fire")); w.Code != 404 || demo.fault != "stall" {
		t.Errorf("another fault: %d, %s", w.Code, demo.fault)
	}
	if w := b.send("/demo", nil); w.Code != 405 {
		t.Errorf("a GET: %d", w.Code)
	}
	real := newBrowser(admin.Config{}, admin.Sources{})
	if w := real.send("/demo", form(real.csrf(), "stall")); w.Code != 404 {
		t.Errorf("without a demo: %d", w.Code)
	}
}
