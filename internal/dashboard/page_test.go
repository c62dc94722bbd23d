package dashboard_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// An answer is a page as a browser gets it.
type answer struct {
	*http.Response
	body string
	tree *html.Node
}

// get asks a handler for a page, with headers given as pairs.
func get(t *testing.T, h http.Handler, target string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "127.0.0.1:5152"
	r.Header.Set("Accept", "text/html")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return answer{w.Result(), string(body), tree}
}

// elements are all elements below n of a name, or all of them for an empty one.
func elements(n *html.Node, name string) []*html.Node {
	var out []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && (name == "" || d.Data == name) {
			out = append(out, d)
		}
	}
	return out
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// text is what a reader of the page reads, a line for each block.
func text(n *html.Node) string {
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		switch {
		case n.Type == html.TextNode:
			b.WriteString(regexp.MustCompile(`\s+`).ReplaceAllString(n.Data, " "))
			return
		case n.Data == "script" || n.Data == "style" || n.Data == "noscript" || n.Data == "dialog": // which is closed
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
		if inline[n.Data] || n.Type != html.ElementNode {
			return
		}
		b.WriteString("\n")
	}
	walk(n)
	var lines []string
	for line := range strings.SplitSeq(b.String(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// inline are the elements that do not end a line of what is read.
var inline = map[string]bool{"a": true, "b": true, "span": true, "strong": true, "time": true, "code": true, "svg": true, "path": true, "title": true, "i": true, "small": true, "kbd": true, "label": true, "rect": true}

// faults are what is wrong with a page for programs that read pages: assistive ones,
// and browsers that hold our policy.
func faults(a answer) []string {
	var out []string
	say := func(n *html.Node, format string, args ...any) {
		out = append(out, fmt.Sprintf("<%s id=%q class=%q> ", n.Data, attr(n, "id"), attr(n, "class"))+fmt.Sprintf(format, args...))
	}
	ids := map[string]bool{}
	for _, n := range elements(a.tree, "") {
		if id := attr(n, "id"); id != "" {
			if ids[id] {
				say(n, "is there twice")
			}
			ids[id] = true
		}
	}
	level := 0
	for _, n := range elements(a.tree, "") {
		for _, at := range n.Attr {
			switch {
			case strings.HasPrefix(at.Key, "on"), at.Key == "style":
				say(n, "has %s, which the policy does not let run", at.Key)
			case (at.Key == "src" || at.Key == "action" || n.Data == "link" && at.Key == "href") && !strings.HasPrefix(at.Val, "/"):
				say(n, "loads or posts to %q, which is not ours", at.Val)
			case at.Key == "href" && strings.HasPrefix(strings.ToLower(at.Val), "javascript:"):
				say(n, "runs something")
			case at.Key == "aria-labelledby" || at.Key == "aria-describedby" || at.Key == "for":
				if !ids[at.Val] {
					say(n, "%s=%q leads nowhere", at.Key, at.Val)
				}
			}
		}
		switch n.Data {
		case "style":
			say(n, "is an inline style")
		case "script":
			if !has(n, "src") {
				say(n, "is an inline script")
			}
		case "th":
			if !has(n, "scope") {
				say(n, "has no scope")
			}
		case "input", "select", "textarea":
			if attr(n, "type") != "hidden" && !has(n, "aria-label") && !labelled(a.tree, n) {
				say(n, "has no label")
			}
		case "meter", "progress":
			if !has(n, "aria-label") {
				say(n, "has no label")
			}
		case "button", "a":
			if strings.TrimSpace(text(n)) == "" && !has(n, "aria-label") {
				say(n, "says nothing")
			}
		case "svg":
			if !has(n, "aria-hidden") && !(attr(n, "role") == "img" && has(n, "aria-label")) {
				say(n, "is neither hidden nor described")
			}
		case "form":
			if attr(n, "method") == "post" && !strings.Contains(render(n), `name="csrf"`) {
				say(n, "carries no token")
			}
		case "h1", "h2", "h3", "h4":
			now := int(n.Data[1] - '0')
			if now > level+1 {
				say(n, "follows an h%d", level)
			}
			level = now
		}
	}
	for _, name := range []string{"main", "h1", "head"} {
		if n := len(elements(a.tree, name)); n != 1 {
			out = append(out, fmt.Sprintf("%d elements %s", n, name))
		}
	}
	if lang := attr(elements(a.tree, "html")[0], "lang"); lang != a.Header.Get("Content-Language") && lang != "zh-CN" {
		out = append(out, "lang is "+lang)
	}
	return out
}

func labelled(tree, input *html.Node) bool {
	for p := input.Parent; p != nil; p = p.Parent {
		if p.Data == "label" {
			return true
		}
	}
	for _, l := range elements(tree, "label") {
		if id := attr(input, "id"); id != "" && attr(l, "for") == id {
			return true
		}
	}
	return false
}

func render(n *html.Node) string {
	var b strings.Builder
	_ = html.Render(&b, n)
	return b.String()
}
