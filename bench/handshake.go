package bench

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"text/template"

	"github.com/roostws/roost/frame"
)

const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// maxResponseBytes bounds the response to an upgrade request.
const maxResponseBytes = 16 << 10

// upgradeKey is connection n's Sec-WebSocket-Key: different for each, and
// derived, so that it need not be kept until the response comes.
func upgradeKey(n int) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], uint64(n)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(raw[8:], uint64(n))
	return base64.StdEncoding.EncodeToString(raw[:])
}

// acceptKey is the response that RFC 6455, section 4.2.2, demands to key.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// appendUpgradeRequest appends connection n's request.
func appendUpgradeRequest(dst []byte, path, host string, n int, headers []string) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	dst = append(dst, upgradeKey(n)...)
	dst = append(dst, "\r\n"...)
	for _, h := range headers {
		dst = append(dst, h...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// checkUpgradeResponse looks for a whole response in p and returns its length,
// 0 while it is not whole, and whether it accepts compression, which may have
// been offered. The error says why it is no upgrade.
func checkUpgradeResponse(p []byte, n int, offered bool) (length int, compressed bool, err error) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		if len(p) > maxResponseBytes {
			return 0, false, fmt.Errorf("response longer than %d bytes", maxResponseBytes)
		}
		return 0, false, nil
	}
	status, header, _ := strings.Cut(string(p[:end]), "\r\n")
	if !strings.HasPrefix(status, "HTTP/1.1 101") {
		if len(status) > 60 {
			status = status[:60]
		}
		return 0, false, fmt.Errorf("answer %s", strconv.QuoteToASCII(status))
	}
	var upgrade, connection, accept string
	for line := range strings.SplitSeq(header, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "upgrade":
			upgrade = strings.ToLower(value)
		case "connection":
			connection = strings.ToLower(value)
		case "sec-websocket-accept":
			accept = value
		case "sec-websocket-extensions":
			if !offered {
				return 0, false, fmt.Errorf("extension that was not offered: %s", value)
			}
			p, err := frame.AcceptDeflate(value, frame.DeflateConfig{})
			if err != nil {
				return 0, false, err
			}
			compressed = p.Enabled
		}
	}
	switch {
	case upgrade != "websocket":
		return 0, false, fmt.Errorf("header Upgrade is %q", upgrade)
	case !strings.Contains(connection, "upgrade"):
		return 0, false, fmt.Errorf("header Connection is %q", connection)
	case accept != acceptKey(upgradeKey(n)):
		return 0, false, fmt.Errorf("wrong Sec-WebSocket-Accept")
	}
	return end + 4, compressed, nil
}

// perConn is a text in which {{.N}} stands for the connection's number and
// {{.Token}} for its token.
type perConn struct {
	text   string
	tmpl   *template.Template
	tokens tokens
}

func newPerConn(text string, signer tokens) (perConn, error) {
	if !strings.Contains(text, "{{") {
		return perConn{text: text}, nil
	}
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return perConn{}, fmt.Errorf("template %q: %w", text, err)
	}
	pc := perConn{tmpl: t, tokens: signer}
	if _, err := pc.expand(0); err != nil {
		return perConn{}, fmt.Errorf("template %q: %w", text, err)
	}
	return pc, nil
}

func (pc perConn) expand(n int) (string, error) {
	if pc.tmpl == nil {
		return pc.text, nil
	}
	var b strings.Builder
	err := pc.tmpl.Execute(&b, connValues{n, pc.tokens})
	return b.String(), err
}

// connValues are what a perConn knows of a connection.
type connValues struct {
	N      int
	tokens tokens
}

// Token is what {{.Token}} stands for.
func (v connValues) Token() (string, error) { return v.tokens.sign(v.N) }
