package notify

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/pullchain/pullchain/internal/wire"
)

// The limits of ntfy (docs.ntfy.sh/publish): what is longer than that becomes a
// file beside the message.
const (
	ntfyTitle   = 250
	ntfyMessage = 4096
)

// ntfyPriorities are from 1 to 5: only an outage may ring at night.
var ntfyPriorities = map[string]int{"ok": 3, "degraded": 4, "outage": 5, "test": 3}

// ntfyTags become the pictures before a title.
var ntfyTags = map[string][]string{"ok": {"white_check_mark"}, "degraded": {"warning"}, "outage": {"rotating_light"}, "test": {"information_source"}}

// hasTopic refuses an address that names no topic.
func hasTopic(u *url.URL) error {
	if strings.Trim(u.Path, "/") == "" {
		return errors.New("should end in a topic, as in https://ntfy.sh/my-mirror")
	}
	return nil
}

// postNtfy writes for a topic of ntfy, as JSON: headers cannot carry Chinese. JSON goes to
// the server's root and names the topic.
func postNtfy(c Config, msg message) post {
	u, err := url.Parse(c.address())
	if err != nil {
		return post{url: c.address()} // Validate has looked
	}
	path := strings.TrimRight(u.Path, "/")
	cut := strings.LastIndexByte(path, '/')
	topic := path[cut+1:]
	u.Path, u.RawPath = path[:cut+1], ""
	body := object{
		"topic": topic, "title": wire.Cut(msg.title, ntfyTitle, "…"), "message": wire.Cut(msg.text(), ntfyMessage, "…"),
		"priority": ntfyPriorities[msg.level], "tags": ntfyTags[msg.level],
	}
	if msg.from.Dashboard != "" {
		body["click"] = msg.from.Dashboard
	}
	return post{url: u.String(), headers: c.bearer(), body: body}
}

// ntfyTaken makes sure that it is ntfy that answers.
func ntfyTaken(body []byte) *refusal {
	var said struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &said) != nil || said.ID == "" {
		return &notJSON
	}
	return nil
}
