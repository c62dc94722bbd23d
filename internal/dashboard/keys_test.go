package dashboard_test

import (
	"strings"
	"testing"
)

// The list of keys is a page as well, and one of its links switches them off, for good.
func TestKeys(t *testing.T) {
	t.Parallel()
	h := over(healthy)
	page := get(t, h, "/keys")
	list := text(elements(page.tree, "main")[0])
	for _, want := range []string{"show this list\n?", "Pulls\ng p", "Switch single keys off"} {
		if !strings.Contains(list, want) {
			t.Errorf("no %q in\n%s", want, list)
		}
	}
	root := elements(page.tree, "html")[0]
	if has(root, "data-keys") {
		t.Error("keys are off without having been switched off")
	}
	off := get(t, h, "/keys?keys=off")
	var kept string
	for _, c := range off.Cookies() {
		kept = c.Name + "=" + c.Value
	}
	for _, path := range []string{"/", "/keys"} {
		if got := attr(elements(get(t, h, path, "Cookie", kept).tree, "html")[0], "data-keys"); got != "off" {
			t.Errorf("%s with the cookie %q: keys are %q", path, kept, got)
		}
	}
	on := get(t, h, "/keys?keys=on", "Cookie", kept)
	if has(elements(on.tree, "html")[0], "data-keys") || len(on.Cookies()) != 1 || on.Cookies()[0].Value != "on" {
		t.Errorf("they cannot be switched on again: %v", on.Cookies())
	}
	// Each page that the head leads to has a key of its own.
	seen := map[string]string{}
	for _, a := range elements(elements(page.tree, "nav")[0], "a") {
		if key := attr(a, "data-go"); key == "" || seen[key] != "" || !strings.Contains(list, "g "+key) {
			t.Errorf("%s has the key %q, as %q", attr(a, "href"), key, seen[key])
		}
		seen[attr(a, "data-go")] = attr(a, "href")
	}
}
