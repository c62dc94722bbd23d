package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/wire"
)

// object is a JSON object, whose keys are written in order.
type object = map[string]any

// sign is the HMAC-SHA256 of text with key, in Base64.
func sign(key, text string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// The limits of a Slack message (api.slack.com/reference/block-kit/blocks), in
// characters; counting bytes stays below.
const (
	slackHeader  = 150
	slackSection = 3000
)

// slackText takes from a text what Slack reads as marks
// (api.slack.com/reference/surfaces/formatting, "Escaping text").
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slackPing calls a member by ID, or the whole channel.
func slackPing(id string) string {
	switch id {
	case all:
		return "<!channel>"
	case "here":
		return "<!here>"
	}
	return "<@" + id + ">"
}

// postSlack writes for an incoming webhook of Slack, or of a program that takes the
// same, such as Mattermost: those show "text" alone, so it says all.
func postSlack(c Config, msg message) post {
	escaped := slackText.Replace(msg.text())
	pings := strings.Join(c.pings(), " ")
	section := strings.TrimSpace(wire.Cut(escaped, slackSection-len(pings)-1, "…") + "\n" + pings)
	return post{url: c.address(), body: object{
		"text": strings.TrimSpace("*" + slackText.Replace(msg.title) + "*\n" + section),
		"blocks": []object{
			{"type": "header", "text": object{"type": "plain_text", "text": wire.Cut(msg.title, slackHeader, "…")}},
			{"type": "section", "text": object{"type": "mrkdwn", "text": section}},
		},
	}}
}

// markdown takes from a text what DingTalk and WeCom would make a link, a tag or a call of.
var markdown = strings.NewReplacer("[", "［", "]", "］", "<", "＜", ">", "＞")

// paragraphs writes the message in the Markdown that DingTalk and WeCom share, with
// newline between the lines of a part.
func (msg message) paragraphs(newline string) string {
	var out []string
	for _, p := range msg.parts {
		lines := []string{markdown.Replace(p.sentence)}
		for _, line := range p.lines {
			lines = append(lines, "> "+markdown.Replace(line))
		}
		out = append(out, strings.Join(lines, newline))
	}
	foot := markdown.Replace(msg.footer)
	if msg.from.Dashboard != "" {
		foot += " · [" + msg.link + "](" + msg.from.Dashboard + ")"
	}
	return strings.Join(append(out, foot), "\n\n")
}

// dingTalkLimit is below the 20,000 bytes that a whole message may have
// (open.dingtalk.com/document/robots/custom-robot-access).
const dingTalkLimit = 16000

// postDingTalk writes for a robot of DingTalk. A robot with a secret wants the
// milliseconds and, in the query, their HMAC with it. A member is called only if the
// text names it as well; a number is a mobile telephone's.
func postDingTalk(c Config, msg message) post {
	address := c.address()
	if c.Secret != "" {
		ms := strconv.FormatInt(msg.at.UnixMilli(), 10)
		address = withQuery(address, "timestamp", ms, "sign", sign(c.Secret.Reveal(), ms+"\n"+c.Secret.Reveal()))
	}
	mobiles, users, everyone := []string{}, []string{}, false
	var named []string
	for _, id := range c.Ping {
		switch {
		case id == all:
			everyone = true
			continue
		case strings.Trim(id, "+-0123456789") == "":
			mobiles = append(mobiles, id)
		default:
			users = append(users, id)
		}
		named = append(named, plainPing(id))
	}
	text := "#### " + markdown.Replace(msg.title) + "\n\n" + msg.paragraphs("\n\n")
	if len(named) > 0 {
		text = strings.Join(named, " ") + "\n\n" + text
	}
	return post{url: address, body: object{
		"msgtype":  "markdown",
		"markdown": object{"title": msg.title, "text": wire.Cut(text, dingTalkLimit, "…")},
		"at":       object{"atMobiles": mobiles, "atUserIds": users, "isAtAll": everyone},
	}}
}

// The codes of DingTalk that a later try may not meet: it is busy, and too many
// messages in a minute.
func dingTalkTaken(body []byte) *refusal { return errcode(body, -1, 130101, 410100) }

// weComLimit is how many bytes a Markdown message of WeCom may have
// (developer.work.weixin.qq.com/document/path/91770).
const weComLimit = 4096

func weComPing(id string) string { return "<@" + id + ">" }

// weComColors are the three that WeCom has.
var weComColors = map[string]string{"ok": "info", "degraded": "warning", "outage": "warning", "test": "comment"}

// postWeCom writes for a group robot of WeCom.
func postWeCom(c Config, msg message) post {
	text := "**<font color=\"" + weComColors[msg.level] + "\">" + markdown.Replace(msg.title) + "</font>**\n"
	pings := strings.Join(c.pings(), "")
	if pings != "" {
		pings = "\n" + pings
	}
	text += wire.Cut(msg.paragraphs("\n"), weComLimit-len(text)-len(pings), "…") + pings
	return post{url: c.address(), body: object{"msgtype": "markdown", "markdown": object{"content": text}}}
}

// Too many messages in a minute, and a busy service, pass.
func weComTaken(body []byte) *refusal { return errcode(body, -1, 45009) }

// errcode reads the answer that DingTalk and WeCom share.
func errcode(body []byte, later ...int) *refusal {
	var said struct {
		Code    *int   `json:"errcode"`
		Message string `json:"errmsg"`
	}
	if json.Unmarshal(body, &said) != nil || said.Code == nil {
		return &notJSON
	}
	return coded(*said.Code, said.Message, *said.Code == 0, later...)
}

// feishuLimit keeps a whole message below 20 KB
// (open.feishu.cn/document/client-docs/bot-v3/add-custom-bot).
const feishuLimit = 12000

func feishuPing(id string) string { return "<at id=" + id + "></at>" }

// feishuColors are those of a card's head.
var feishuColors = map[string]string{"ok": "green", "degraded": "orange", "outage": "red", "test": "blue"}

// postFeishu writes a card for a robot of Feishu. With a secret there are the seconds
// and a signature: an HMAC of nothing, whose key is the seconds and the secret.
func postFeishu(c Config, msg message) post {
	var texts []string
	for _, p := range msg.parts {
		texts = append(texts, strings.Join(append([]string{p.sentence}, p.lines...), "\n"))
	}
	plain := func(s string) object { return object{"tag": "plain_text", "content": s} }
	elements := []object{{"tag": "div", "text": plain(wire.Cut(strings.Join(append(texts, msg.footer), "\n\n"), feishuLimit, "…"))}}
	if pings := c.pings(); len(pings) > 0 {
		elements = append(elements, object{"tag": "div", "text": object{"tag": "lark_md", "content": strings.Join(pings, " ")}})
	}
	if msg.from.Dashboard != "" {
		elements = append(elements, object{"tag": "action", "actions": []object{
			{"tag": "button", "type": "default", "text": plain(msg.link), "url": msg.from.Dashboard},
		}})
	}
	body := object{"msg_type": "interactive", "card": object{
		"config":   object{"wide_screen_mode": true},
		"header":   object{"template": feishuColors[msg.level], "title": plain(msg.title)},
		"elements": elements,
	}}
	if c.Secret != "" {
		seconds := strconv.FormatInt(msg.at.Unix(), 10)
		body["timestamp"], body["sign"] = seconds, sign(seconds+"\n"+c.Secret.Reveal(), "")
	}
	return post{url: c.address(), body: body}
}

// feishuTaken reads an answer of Feishu: 11232 and 9499 are its words for too many
// messages.
func feishuTaken(body []byte) *refusal {
	var said struct {
		Code    *int   `json:"code"`
		Message string `json:"msg"`
		Old     *int   `json:"StatusCode"` // of the answer that it gave before
	}
	if json.Unmarshal(body, &said) != nil || said.Code == nil && said.Old == nil {
		return &notJSON
	}
	if said.Code == nil {
		said.Code = said.Old
	}
	return coded(*said.Code, said.Message, *said.Code == 0, 11232, 9499)
}

// telegramLimit is how many characters a message may have
// (core.telegram.org/bots/api#sendmessage), which are counted in UTF-16.
const telegramLimit = 4096

// postTelegram writes for a bot of Telegram, without a parse_mode: then nothing in
// the text means anything, and no message is refused for a mark in it.
func postTelegram(c Config, msg message) post {
	text := msg.title + "\n\n" + msg.text()
	if pings := c.pings(); len(pings) > 0 {
		text += "\n" + strings.Join(pings, " ")
	}
	return post{url: strings.TrimRight(c.address(), "/") + "/bot" + c.Token.Reveal() + "/sendMessage", body: object{
		"chat_id":              c.ChatID,
		"text":                 cutUTF16(text, telegramLimit),
		"link_preview_options": object{"is_disabled": true},
	}}
}

// cutUTF16 shortens s to max units of UTF-16.
func cutUTF16(s string, max int) string {
	n, kept := 0, 0
	for i, r := range s {
		unit := 1
		if r > 0xffff {
			unit = 2
		}
		if n += unit; n > max {
			return s[:kept] + "…"
		}
		if n < max { // with room for the mark
			kept = i + len(string(r))
		}
	}
	return s
}

// telegramTaken reads an answer of Telegram, which says in the body how long to wait.
func telegramTaken(body []byte) *refusal {
	var said struct {
		OK          *bool  `json:"ok"`
		Code        int    `json:"error_code"`
		Description string `json:"description"`
		Parameters  struct {
			RetryAfter int64 `json:"retry_after"`
		} `json:"parameters"`
	}
	if json.Unmarshal(body, &said) != nil || said.OK == nil {
		return &notJSON
	}
	r := coded(said.Code, said.Description, *said.OK, 429)
	if r != nil && said.Parameters.RetryAfter > 0 {
		r.retry, r.after = true, time.Duration(min(said.Parameters.RetryAfter, 1<<20))*time.Second
	}
	return r
}
