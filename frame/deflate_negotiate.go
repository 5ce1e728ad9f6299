package frame

import (
	"errors"
	"fmt"
	"strconv"
)

// DeflateExtension is the token of RFC 7692 in Sec-WebSocket-Extensions.
const DeflateExtension = "permessage-deflate"

// The parameters of RFC 7692, section 7.1.
const (
	serverNoContextTakeover = "server_no_context_takeover"
	clientNoContextTakeover = "client_no_context_takeover"
	serverMaxWindowBits     = "server_max_window_bits"
	clientMaxWindowBits     = "client_max_window_bits"
)

// The limits of both window parameters: "a decimal integer value without
// leading zeroes between 8 to 15 inclusive".
const (
	minWindowBits = 8
	maxWindowBits = 15
)

// Errors of the negotiation.
var (
	// ErrExtensionSyntax: a Sec-WebSocket-Extensions header that does not
	// follow the grammar; RFC 6455, section 9.1, fails the handshake on it.
	ErrExtensionSyntax = errors.New("frame: malformed Sec-WebSocket-Extensions")
	// ErrExtensionResponse: a server accepted what it was not offered.
	ErrExtensionResponse = errors.New("frame: server's Sec-WebSocket-Extensions does not fit the offer")
)

// DeflateConfig says what an end of a connection wants of permessage-deflate.
// The zero value keeps no state between messages in either direction, so that an
// idle connection costs nothing.
type DeflateConfig struct {
	// ServerContextTakeover lets the server refer to its earlier messages,
	// ClientContextTakeover the client to its own. Each costs both ends up to
	// 32 KiB for as long as the connection lives (see Window).
	ServerContextTakeover, ClientContextTakeover bool
	// ClientMaxWindowBits, 8 to 15, makes a server ask clients to use a window
	// of no more than 1<<ClientMaxWindowBits bytes, if they are able to; it
	// bounds the Window that client context takeover costs. If zero, 15.
	ClientMaxWindowBits int
}

// DeflateParams is what both ends agreed on. The zero value says that messages
// are not compressed.
type DeflateParams struct {
	// Enabled says that the extension is in use.
	Enabled bool
	// ServerNoContextTakeover: the server compresses each message on its own.
	// ClientNoContextTakeover: the client does.
	ServerNoContextTakeover, ClientNoContextTakeover bool
	// ServerMaxWindowBits and ClientMaxWindowBits are the base-2 logarithm of
	// each sender's window, 8 to 15.
	ServerMaxWindowBits, ClientMaxWindowBits int
}

// NegotiateDeflate is a server's part: it agrees to the first offer of
// permessage-deflate in header that it can keep to. header is the value of
// Sec-WebSocket-Extensions; several such headers are joined with commas. The
// response is the value to send back, empty if nothing was accepted: p is then
// zero. Offers with an unknown, repeated or invalid parameter are passed over
// (RFC 7692, section 7), other extensions too. server_max_window_bits is
// honoured: [AppendDeflatedFrame] can use any window from 8 to 15 bits.
//
// The only error is ErrExtensionSyntax.
func NegotiateDeflate(header string, cfg DeflateConfig) (p DeflateParams, response string, err error) {
	extensions, err := parseExtensions(header)
	if err != nil {
		return DeflateParams{}, "", err
	}
	for _, e := range extensions {
		if e.name != DeflateExtension {
			continue
		}
		if offer, ok := parseDeflate(e.params, true); ok {
			p, response = acceptDeflate(offer, cfg)
			return p, response, nil
		}
	}
	return DeflateParams{}, "", nil
}

// acceptDeflate agrees to one offer (RFC 7692, sections 7.1.1 and 7.1.2).
func acceptDeflate(offer deflateParameters, cfg DeflateConfig) (DeflateParams, string) {
	p := DeflateParams{
		Enabled: true,
		// "A server accepts an extension negotiation offer that includes the
		// server_no_context_takeover parameter by including" it in the response.
		ServerNoContextTakeover: offer.serverNoContextTakeover || !cfg.ServerContextTakeover,
		// The offer's is only a hint; every client must be able to comply.
		ClientNoContextTakeover: offer.clientNoContextTakeover || !cfg.ClientContextTakeover,
		ServerMaxWindowBits:     maxWindowBits,
		ClientMaxWindowBits:     maxWindowBits,
	}
	response := DeflateExtension
	if p.ServerNoContextTakeover {
		response += "; " + serverNoContextTakeover
	}
	if p.ClientNoContextTakeover {
		response += "; " + clientNoContextTakeover
	}
	if offer.serverWindow {
		p.ServerMaxWindowBits = offer.serverWindowBits
		response += "; " + serverMaxWindowBits + "=" + strconv.Itoa(p.ServerMaxWindowBits)
	}
	if offer.clientWindow {
		// The value of an offer is a promise that holds without a response.
		p.ClientMaxWindowBits = offer.clientWindowBits
		if want := cfg.ClientMaxWindowBits; want >= minWindowBits && want < p.ClientMaxWindowBits {
			p.ClientMaxWindowBits = want
			response += "; " + clientMaxWindowBits + "=" + strconv.Itoa(want)
		}
	}
	return p, response
}

// DeflateOffer is a client's header value for cfg.
func DeflateOffer(cfg DeflateConfig) string {
	offer := DeflateExtension
	if !cfg.ServerContextTakeover {
		offer += "; " + serverNoContextTakeover
	}
	if !cfg.ClientContextTakeover {
		offer += "; " + clientNoContextTakeover
	}
	return offer + "; " + clientMaxWindowBits
}

// AcceptDeflate is a client's part: it reads the server's header value for what
// DeflateOffer(cfg) offered. An empty header declines the offer: p is zero. An
// error, ErrExtensionSyntax or ErrExtensionResponse, must fail the connection.
func AcceptDeflate(header string, cfg DeflateConfig) (p DeflateParams, err error) {
	extensions, err := parseExtensions(header)
	if err != nil || len(extensions) == 0 {
		return DeflateParams{}, err
	}
	if len(extensions) > 1 || extensions[0].name != DeflateExtension {
		return DeflateParams{}, fmt.Errorf("%w: %q", ErrExtensionResponse, header)
	}
	answer, ok := parseDeflate(extensions[0].params, false)
	if !ok || !answer.serverNoContextTakeover && !cfg.ServerContextTakeover {
		return DeflateParams{}, fmt.Errorf("%w: %q", ErrExtensionResponse, header)
	}
	return DeflateParams{
		Enabled:                 true,
		ServerNoContextTakeover: answer.serverNoContextTakeover,
		ClientNoContextTakeover: answer.clientNoContextTakeover || !cfg.ClientContextTakeover,
		ServerMaxWindowBits:     answer.serverWindowBits,
		ClientMaxWindowBits:     answer.clientWindowBits,
	}, nil
}

// deflateParameters are one element's parameters, as they stand.
type deflateParameters struct {
	serverNoContextTakeover, clientNoContextTakeover bool
	serverWindow, clientWindow                       bool // the parameter is there
	serverWindowBits, clientWindowBits               int  // 15 without the parameter or its value
}

// parseDeflate reads the parameters of an offer or of a response; false if one
// is unknown, repeated, or has a value that it must not have (RFC 7692, section
// 7: such an offer is declined, such a response fails the connection).
func parseDeflate(params []extensionParam, offer bool) (p deflateParameters, ok bool) {
	p.serverWindowBits, p.clientWindowBits = maxWindowBits, maxWindowBits
	for _, param := range params {
		var seen *bool
		bits := 0
		switch param.name {
		case serverNoContextTakeover:
			seen = &p.serverNoContextTakeover
		case clientNoContextTakeover:
			seen = &p.clientNoContextTakeover
		case serverMaxWindowBits:
			seen, bits = &p.serverWindow, windowBits(param)
			p.serverWindowBits = bits
		case clientMaxWindowBits:
			seen, bits = &p.clientWindow, windowBits(param)
			if offer && !param.hasValue {
				bits = maxWindowBits // the client is able, and names no limit
			}
			p.clientWindowBits = bits
		default:
			return deflateParameters{}, false
		}
		isWindow := seen == &p.serverWindow || seen == &p.clientWindow
		if *seen || isWindow && bits == 0 || !isWindow && param.hasValue {
			return deflateParameters{}, false
		}
		*seen = true
	}
	return p, true
}

// windowBits is a window parameter's value, 0 if it is missing or invalid.
func windowBits(param extensionParam) int {
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		if param.value == strconv.Itoa(bits) {
			return bits
		}
	}
	return 0
}
