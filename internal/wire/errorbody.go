package wire

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// ErrorCode is a machine-readable code of an error body (distribution-spec,
// "Error Codes").
type ErrorCode string

// The codes of distribution-spec that reads meet, and at the end three of
// distribution's own, which the Docker engine knows.
const (
	CodeBlobUnknown       ErrorCode = "BLOB_UNKNOWN"
	CodeDigestInvalid     ErrorCode = "DIGEST_INVALID"
	CodeManifestInvalid   ErrorCode = "MANIFEST_INVALID"
	CodeManifestUnknown   ErrorCode = "MANIFEST_UNKNOWN"
	CodeNameInvalid       ErrorCode = "NAME_INVALID"
	CodeNameUnknown       ErrorCode = "NAME_UNKNOWN"
	CodeUnauthorized      ErrorCode = "UNAUTHORIZED"
	CodeDenied            ErrorCode = "DENIED"
	CodeUnsupported       ErrorCode = "UNSUPPORTED"
	CodeTooManyRequests   ErrorCode = "TOOMANYREQUESTS"
	CodeUnavailable       ErrorCode = "UNAVAILABLE"
	CodeUnknown           ErrorCode = "UNKNOWN"
	CodePaginationInvalid ErrorCode = "PAGINATION_NUMBER_INVALID"
)

// errorBody is the JSON of every error answer of a registry.
type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

// errorEntry is one error of an [errorBody].
type errorEntry struct {
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"`
	Detail  any       `json:"detail,omitempty"` // for people; no client reads it
}

// WriteError answers with status and an OCI error body; for HEAD with the same
// headers and no body. Headers that the caller set stay (Retry-After, Warning,
// Content-Range of a 416), but not those of the content that was not sent. A
// detail that does not marshal is left out.
func WriteError(w http.ResponseWriter, status int, head bool, code ErrorCode, message string, detail any) {
	entry := errorEntry{Code: code, Message: message, Detail: detail}
	body, err := json.Marshal(errorBody{[]errorEntry{entry}})
	if err != nil {
		entry.Detail = nil
		body, _ = json.Marshal(errorBody{[]errorEntry{entry}}) // only strings are left
	}
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Docker-Content-Digest", "Etag", "Last-Modified"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("X-Content-Type-Options", "nosniff")
	// A cache in front may keep a 404 or 405 on its own account (RFC 9110 15.1).
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if !head {
		w.Write(body) // the client went away: the server knows
	}
}

// ParseError finds the code and the message in an upstream's error body, of which
// it looks at the first [MaxError] bytes. It takes what registries, token servers
// and CDNs really send: OCI JSON, {"error":…}, {"details":…}, an S3 or GCS XML
// error, the title of an HTML page, plain text. The code is "" if there is none;
// the message is safe to show (see [Clip]) and may be "".
func ParseError(body []byte) (code ErrorCode, message string) {
	text := strings.TrimSpace(string(body[:min(len(body), MaxError)]))
	switch {
	case strings.HasPrefix(text, "{"):
		return parseJSONError(text)
	case strings.HasPrefix(text, "<"):
		// The rest of such a page can quote a signed URL back at us.
		for _, tag := range []string{"message", "title"} {
			if s := between(text, tag); s != "" {
				return cleanCode(between(text, "code")), Clip(s)
			}
		}
		return cleanCode(between(text, "code")), ""
	}
	return "", Clip(text)
}

// IsErrorBody reports whether body is an error in a registry's own words: a JSON
// object with a list "errors" that has an entry (distribution-spec, "Error Codes").
// What routers, web servers and object stores write is none.
func IsErrorBody(body []byte) bool {
	var doc struct {
		Errors []json.RawMessage `json:"errors"`
	}
	return json.Unmarshal(body[:min(len(body), MaxError)], &doc) == nil && len(doc.Errors) > 0
}

func parseJSONError(text string) (ErrorCode, string) {
	var body struct {
		Errors      []json.RawMessage `json:"errors"`
		Error       any               `json:"error"`
		Description any               `json:"error_description"`
		Message     any               `json:"message"`
		Details     any               `json:"details"`
		Code        any               `json:"code"`
	}
	err := json.Unmarshal([]byte(text), &body)
	if _, malformed := errors.AsType[*json.SyntaxError](err); malformed {
		return "", Clip(text)
	} // else a field is of another type, and the others are set all the same
	var entry struct {
		Code    any `json:"code"`
		Message any `json:"message"`
	}
	if len(body.Errors) > 0 {
		_ = json.Unmarshal(body.Errors[0], &entry) // valid JSON; if it is no object, entry stays empty
	}
	code := firstString(entry.Code, body.Code)
	message := firstString(entry.Message, body.Description, body.Message, body.Details, body.Error, code)
	return cleanCode(code), Clip(message)
}

func firstString(values ...any) string {
	for _, v := range values {
		if s, ok := v.(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// cleanCode returns s in capitals if it could be a code, else "".
func cleanCode(s string) ErrorCode {
	s = strings.ToUpper(s)
	if len(s) > 64 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return ""
	}
	return ErrorCode(s)
}

// between returns the text of the first element called tag, whatever its case.
func between(text, tag string) string {
	lower := strings.ToLower(text)
	if len(lower) != len(text) {
		return "" // folding moved the bytes: not a page that we can cut
	}
	start := strings.Index(lower, "<"+tag+">")
	if start < 0 {
		return ""
	}
	start += len(tag) + 2
	end := strings.IndexByte(lower[start:], '<')
	if end < 0 {
		return ""
	}
	return text[start : start+end]
}
