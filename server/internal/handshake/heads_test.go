package handshake

import "strings"

// crlfLines writes a head the way it reads: one line each, CR LF added.
func crlfLines(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// The key of RFC 6455 section 1.3, and what it is accepted with.
const (
	testKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	testAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// Heads as these clients send them: their headers, order and case. Those marked
// recorded were taken from the wire (host and key exchanged), the others follow
// the clients' sources.
var realHeads = []struct {
	name, head string
	origin     bool // sent by a browser
	extensions string
	protocols  string
}{
	{name: "Chromium 156, recorded", origin: true, extensions: "permessage-deflate; client_max_window_bits", head: crlfLines(
		"GET /ws?room=1 HTTP/1.1", "Host: localhost:8080", "Connection: Upgrade", "Pragma: no-cache",
		"Cache-Control: no-cache",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36",
		"Upgrade: websocket", "Origin: http://localhost:8080", "Sec-WebSocket-Version: 13",
		"Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: en-US,en;q=0.9",
		"Sec-WebSocket-Key: "+testKey, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")},
	{name: "Firefox 133", origin: true, extensions: "permessage-deflate", protocols: "chat.v2, chat", head: crlfLines(
		"GET / HTTP/1.1", "Host: localhost:8080",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
		"Accept: */*", "Accept-Language: en-US,en;q=0.5", "Accept-Encoding: gzip, deflate, br, zstd",
		"Sec-WebSocket-Version: 13", "Origin: http://localhost:8080", "Sec-WebSocket-Protocol: chat.v2, chat",
		"Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Key: "+testKey, "DNT: 1",
		"Connection: keep-alive, Upgrade", "Sec-Fetch-Dest: empty", "Sec-Fetch-Mode: websocket",
		"Sec-Fetch-Site: same-origin", "Pragma: no-cache", "Cache-Control: no-cache", "Upgrade: websocket")},
	{name: "Safari 17", origin: true, extensions: "permessage-deflate", head: crlfLines(
		"GET /ws HTTP/1.1", "Host: localhost:8080", "Origin: http://localhost:8080", "Pragma: no-cache",
		"Cache-Control: no-cache", "Accept: */*", "Upgrade: websocket",
		"Sec-WebSocket-Key: "+testKey, "Sec-WebSocket-Version: 13", "Accept-Language: en-GB,en;q=0.9",
		"Sec-WebSocket-Extensions: permessage-deflate", "Connection: Upgrade",
		"User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15",
		"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: websocket", "Sec-Fetch-Dest: websocket")},
	{name: "npm ws 8.23, recorded", extensions: "permessage-deflate; client_max_window_bits", head: crlfLines(
		"GET /ws HTTP/1.1", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+testKey, "Connection: Upgrade",
		"Upgrade: websocket", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
		"Host: localhost:8080")},
	{name: "Python websockets 14", extensions: "permessage-deflate; client_max_window_bits", head: crlfLines(
		"GET /ws HTTP/1.1", "Host: localhost:8080", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: "+testKey, "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
		"User-Agent: Python/3.12 websockets/14.1")},
	{name: "Python websocket-client 1.8", origin: true, head: crlfLines(
		"GET /ws HTTP/1.1", "Upgrade: websocket", "Host: localhost:8080", "Origin: http://localhost:8080",
		"Sec-WebSocket-Key: "+testKey, "Sec-WebSocket-Version: 13", "Connection: Upgrade")},
	{name: "Go gorilla 1.5.3, recorded", protocols: "chat",
		extensions: "permessage-deflate; server_no_context_takeover; client_no_context_takeover", head: crlfLines(
			"GET /ws HTTP/1.1", "Host: localhost:8080", "User-Agent: Go-http-client/1.1", "Connection: Upgrade",
			"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
			"Sec-WebSocket-Key: "+testKey, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Version: 13", "Upgrade: websocket")},
	{name: "Go coder 1.8.15, recorded", protocols: "chat", head: crlfLines(
		"GET /ws HTTP/1.1", "Host: localhost:8080", "User-Agent: Go-http-client/1.1", "Connection: Upgrade",
		"Sec-Websocket-Key: "+testKey, "Sec-Websocket-Protocol: chat", "Sec-Websocket-Version: 13", "Upgrade: websocket",
		"Accept-Encoding: gzip")},
	{name: "curl 8.11", head: crlfLines(
		"GET /ws HTTP/1.1", "Host: localhost:8080", "User-Agent: curl/8.11.0", "Accept: */*", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+testKey, "Connection: Upgrade")},
	{name: "Java HttpClient 21 (h2c habits, names in lower case)", head: crlfLines(
		"GET /ws HTTP/1.1", "connection: Upgrade", "host: localhost:8080", "upgrade: websocket",
		"user-agent: Java-http-client/21.0.1", "sec-websocket-key: "+testKey, "sec-websocket-version: 13")},
	{name: "through nginx", origin: true, head: crlfLines(
		"GET /ws HTTP/1.1", "Upgrade: websocket", "Connection: upgrade", "Host: localhost:8080",
		"X-Real-IP: 203.0.113.9", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https",
		"Origin: http://localhost:8080", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+testKey)},
}
