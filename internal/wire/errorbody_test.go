package wire

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestWriteError(t *testing.T) {
	t.Parallel()
	for _, head := range []bool{false, true} {
		w := httptest.NewRecorder()
		for name, value := range map[string]string{"Retry-After": "5", "Content-Range": "bytes */7", "Etag": `"x"`, "Content-Length": "12345", "Docker-Content-Digest": sha256, "Content-Encoding": "gzip"} {
			w.Header().Set(name, value)
		}
		WriteError(w, 503, head, CodeUnavailable, `no "path" <works>`, map[string]int{"tries": 2})
		res := w.Result()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"errors":[{"code":"UNAVAILABLE","message":"no \"path\" \u003cworks\u003e","detail":{"tries":2}}]}`
		wantHeader := map[string][]string{
			"Retry-After": {"5"}, "Content-Range": {"bytes */7"}, "Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(want))},
			"Docker-Distribution-Api-Version": {"registry/2.0"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"},
		}
		if diff := cmp.Diff(wantHeader, map[string][]string(res.Header)); diff != "" || res.StatusCode != 503 {
			t.Errorf("head = %t: status %d, header -want +got\n%s", head, res.StatusCode, diff)
		}
		if wantBody := map[bool]string{false: want}[head]; string(body) != wantBody {
			t.Errorf("head = %t: body %s, want %s", head, body, wantBody)
		}
	}
}

func TestWriteErrorDropsBadDetail(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	WriteError(w, 400, false, CodeNameInvalid, "no", func() {})
	if got, want := w.Body.String(), `{"errors":[{"code":"NAME_INVALID","message":"no"}]}`; got != want {
		t.Errorf("body %s, want %s", got, want)
	}
}

func TestParseError(t *testing.T) {
	t.Parallel()
	tests := []struct {
		body    string
		code    ErrorCode
		message string
	}{
		{`{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit.","detail":null}]}`, CodeTooManyRequests, "You have reached your pull rate limit."},
		{" \n" + `{"errors":[{"code":"denied","message":"no"},{"code":"UNKNOWN","message":"x"}]}`, CodeDenied, "no"},
		{`{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, CodeManifestUnknown, "MANIFEST_UNKNOWN"},
		{`{"errors":[{"code":404,"message":["a"]}]}`, "", ""},
		{`{"errors":["x"],"message":"y"}`, "", "y"},
		{`{"errors":{"code":"X"},"message":"type mismatch"}`, "", "type mismatch"},
		{`{"errors":[]}`, "", ""},
		{`{"details":"incorrect username or password"}`, "", "incorrect username or password"},
		{`{"error":"invalid_token","error_description":"expired"}`, "", "expired"},
		{`{"error":"Bad request"}`, "", "Bad request"},
		{`{"errors":[{"code":"A B","message":"x"}]}`, "", "x"},
		{`{"errors":[{"code":"` + strings.Repeat("A", 65) + `","message":"x"}]}`, "", "x"},
		{`{"errors":[{"code":"X","message":"a\u001b[2J\r\nb\u202e"}]}`, "X", "a?[2J b?"},
		{`{"errors":[{"code":"X","mess`, "", `{'errors':[{'code':'X','mess`},
		{"Too Many Requests (HAP429).\n", "", "Too Many Requests (HAP429)."},
		{"error code: 1027", "", "error code: 1027"},
		{"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message><StringToSign>SECRET</StringToSign></Error>", "ACCESSDENIED", "Request has expired"},
		{"<!DOCTYPE html><html><head><title>Attention\nRequired! | Cloudflare</title></head><a href='?sig=SECRET'>", "", "Attention Required! | Cloudflare"},
		{"<html><body>hi SECRET", "", ""},
		{"<title>", "", ""},
		{"<title>İ</title>", "", ""},
		{"", "", ""},
		{"null", "", "null"},
		{"{}", "", ""},
		{"\x00\x01", "", "??"},
		{strings.Repeat("x", MaxError) + "tail", "", strings.Repeat("x", 253) + "…"},
		{strings.Repeat("{\"a\":", 1<<20), "", ""},
	}
	for _, tt := range tests {
		code, message := ParseError([]byte(tt.body))
		if tt.message == "" && tt.code == "" && strings.HasPrefix(tt.body, `{"a":{`) {
			tt.message = message // cut JSON: any safe text will do
		}
		if code != tt.code || message != tt.message {
			t.Errorf("ParseError(%.80q) = %q, %q; want %q, %q", tt.body, code, message, tt.code, tt.message)
		}
		checkText(t, message)
	}
}

func FuzzErrorBody(f *testing.F) {
	for _, body := range []string{
		`{"errors":[{"code":"DENIED","message":"no","detail":{}}]}`, `{"error":"x"}`, `{"errors":[1]}`, `{"errors":{}}`, `{`, "HAP429",
		"<Error><Code>AccessDenied</Code><Message>m</Message></Error>", "<title>t", "<title>\u0130</title>", "\xff\xfe<",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		code, message := ParseError(body)
		checkText(t, message)
		if len(message) > maxText || len(code) > 64 || strings.ContainsAny(message, "\"\\") || strings.ToUpper(string(code)) != string(code) {
			t.Fatalf("ParseError(%q) = %q, %q", body, code, message)
		}
		// Whatever message we write is read back the same.
		w := httptest.NewRecorder()
		WriteError(w, 502, false, CodeUnknown, string(body), nil)
		if !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
			t.Fatalf("wrote %q", w.Body)
		}
		want := Clip(string(body))
		if len(body) == 0 {
			want = string(CodeUnknown)
		}
		code, message = ParseError(w.Body.Bytes())
		if utf8.Valid(body) && w.Body.Len() <= MaxError && (code != CodeUnknown || message != want) {
			t.Fatalf("wrote %q, read %q, %q", body, code, message)
		}
	})
}
