package frame

import (
	"errors"
	"testing"
)

func TestNegotiateDeflate(t *testing.T) {
	const (
		none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
		both = "permessage-deflate"
	)
	takeover := DeflateConfig{ServerContextTakeover: true, ClientContextTakeover: true}
	small := DeflateConfig{ClientContextTakeover: true, ClientMaxWindowBits: 10}
	def := DeflateParams{true, true, true, 15, 15}
	tests := []struct {
		name     string
		header   string
		cfg      DeflateConfig
		want     DeflateParams
		response string
	}{
		{"nothing offered", "", DeflateConfig{}, DeflateParams{}, ""},
		{"another extension", "x-webkit-deflate-frame", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1 no parameters", "permessage-deflate", DeflateConfig{}, def, none},
		{"7.1 no parameters, takeover wanted", "permessage-deflate", takeover, DeflateParams{true, false, false, 15, 15}, both},
		{"what browsers send", "permessage-deflate; client_max_window_bits", DeflateConfig{}, def, none},
		{"7.1.1.1 server_no_context_takeover", "permessage-deflate; server_no_context_takeover", takeover,
			DeflateParams{true, true, false, 15, 15}, "permessage-deflate; server_no_context_takeover"},
		{"7.1.1.1 server_no_context_takeover with a value", "permessage-deflate; server_no_context_takeover=1", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.1.2 client_no_context_takeover", "permessage-deflate; client_no_context_takeover", takeover,
			DeflateParams{true, false, true, 15, 15}, "permessage-deflate; client_no_context_takeover"},
		{"7.1.1.2 client_no_context_takeover with a value", `permessage-deflate; client_no_context_takeover="1"`, DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.2.1 server_max_window_bits", "permessage-deflate; server_max_window_bits=10", takeover,
			DeflateParams{true, false, false, 10, 15}, "permessage-deflate; server_max_window_bits=10"},
		{"7.1.2.1 smallest window", "permessage-deflate; server_max_window_bits=8", takeover,
			DeflateParams{true, false, false, 8, 15}, "permessage-deflate; server_max_window_bits=8"},
		{"7.1.2.1 largest window", "permessage-deflate; server_max_window_bits=15", takeover,
			DeflateParams{true, false, false, 15, 15}, "permessage-deflate; server_max_window_bits=15"},
		{"7.1.2.1 no value", "permessage-deflate; server_max_window_bits", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.2.1 too small", "permessage-deflate; server_max_window_bits=7", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.2.1 too large", "permessage-deflate; server_max_window_bits=16", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.2.1 leading zero", "permessage-deflate; server_max_window_bits=08", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.2.1 sign", "permessage-deflate; server_max_window_bits=+9", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.2.1 not a number", "permessage-deflate; server_max_window_bits=ten", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.2.2 client_max_window_bits without a value, limited", "permessage-deflate; client_max_window_bits", small,
			DeflateParams{true, true, false, 15, 10}, "permessage-deflate; server_no_context_takeover; client_max_window_bits=10"},
		{"7.1.2.2 the client's own limit is smaller", "permessage-deflate; client_max_window_bits=9", small,
			DeflateParams{true, true, false, 15, 9}, "permessage-deflate; server_no_context_takeover"},
		{"7.1.2.2 not offered, so not asked for", "permessage-deflate", small,
			DeflateParams{true, true, false, 15, 15}, "permessage-deflate; server_no_context_takeover"},
		{"7.1.2.2 too large", "permessage-deflate; client_max_window_bits=16", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.2.2 empty", `permessage-deflate; client_max_window_bits=""`, DeflateConfig{}, DeflateParams{}, "malformed"},
		{"7 unknown parameter", "permessage-deflate; level=9", DeflateConfig{}, DeflateParams{}, ""},
		{"7 parameter names have a case", "permessage-deflate; Server_No_Context_Takeover", DeflateConfig{}, DeflateParams{}, ""},
		{"7 repeated flag", "permessage-deflate; server_no_context_takeover; server_no_context_takeover", DeflateConfig{}, DeflateParams{}, ""},
		{"7 repeated value", "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10", DeflateConfig{}, DeflateParams{}, ""},
		{"7 repeated, first without a value", "permessage-deflate; client_max_window_bits; client_max_window_bits=10", DeflateConfig{}, DeflateParams{}, ""},
		{"7.1.3 the first that can be kept", "permessage-deflate; server_max_window_bits=99, other; x=y, permessage-deflate; server_max_window_bits=10, permessage-deflate", takeover,
			DeflateParams{true, false, false, 10, 15}, "permessage-deflate; server_max_window_bits=10"},
		{"9.1 quoted value", `permessage-deflate; server_max_window_bits="10"`, takeover,
			DeflateParams{true, false, false, 10, 15}, "permessage-deflate; server_max_window_bits=10"},
		{"9.1 quoted value with an escape", `permessage-deflate; server_max_window_bits="\1\0"`, takeover,
			DeflateParams{true, false, false, 10, 15}, "permessage-deflate; server_max_window_bits=10"},
		{"9.1 space anywhere", " \tpermessage-deflate ;server_max_window_bits = 10\t; client_no_context_takeover , ,", takeover,
			DeflateParams{true, false, true, 10, 15}, "permessage-deflate; client_no_context_takeover; server_max_window_bits=10"},
		{"9.1 empty elements", ",, permessage-deflate", DeflateConfig{}, def, none},
		{"9.1 no name", "; server_no_context_takeover", DeflateConfig{}, DeflateParams{}, "malformed"},
		{"9.1 no parameter", "permessage-deflate;", DeflateConfig{}, DeflateParams{}, "malformed"},
		{"9.1 no value", "permessage-deflate; server_max_window_bits=", DeflateConfig{}, DeflateParams{}, "malformed"},
		{"9.1 two tokens", "permessage-deflate permessage-deflate", DeflateConfig{}, DeflateParams{}, "malformed"},
		{"9.1 open quote", `permessage-deflate; server_max_window_bits="10`, DeflateConfig{}, DeflateParams{}, "malformed"},
		{"9.1 open quote after an escape", `permessage-deflate; server_max_window_bits="1\`, DeflateConfig{}, DeflateParams{}, "malformed"},
		{"9.1 quoted value is no token", `permessage-deflate; server_max_window_bits="1 0"`, DeflateConfig{}, DeflateParams{}, "malformed"},
		{"9.1 malformed behind a good offer", "permessage-deflate, =", DeflateConfig{}, DeflateParams{}, "malformed"},
		{"9.1 not ASCII", "permessage-deflate; \u00e4", DeflateConfig{}, DeflateParams{}, "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, response, err := NegotiateDeflate(tt.header, tt.cfg)
			if tt.response == "malformed" {
				if !errors.Is(err, ErrExtensionSyntax) || response != "" || p != (DeflateParams{}) {
					t.Errorf("NegotiateDeflate(%q) = %+v, %q, %v", tt.header, p, response, err)
				}
				return
			}
			if p != tt.want || response != tt.response || err != nil {
				t.Errorf("NegotiateDeflate(%q) = %+v, %q, %v, want %+v, %q", tt.header, p, response, err, tt.want, tt.response)
			}
			if (p.ServerWindow() != nil) != (p.Enabled && !p.ServerNoContextTakeover) || (p.ClientWindow() != nil) != (p.Enabled && !p.ClientNoContextTakeover) {
				t.Errorf("%+v: windows %v, %v", p, p.ServerWindow(), p.ClientWindow())
			}
		})
	}
}

func TestAcceptDeflate(t *testing.T) {
	takeover := DeflateConfig{ServerContextTakeover: true, ClientContextTakeover: true}
	tests := []struct {
		name   string
		header string
		cfg    DeflateConfig
		want   DeflateParams
		err    error
	}{
		{"declined", "", takeover, DeflateParams{}, nil},
		{"accepted", "permessage-deflate", takeover, DeflateParams{true, false, false, 15, 15}, nil},
		{"the server restricts both", "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=10", takeover, DeflateParams{true, true, true, 9, 10}, nil},
		{"the client's offer binds itself", "permessage-deflate; server_no_context_takeover", DeflateConfig{}, DeflateParams{true, true, true, 15, 15}, nil},
		{"7.1.1.1 offered but not accepted", "permessage-deflate", DeflateConfig{}, DeflateParams{}, ErrExtensionResponse},
		{"7.1.2.2 a response needs the value", "permessage-deflate; client_max_window_bits", takeover, DeflateParams{}, ErrExtensionResponse},
		{"7.1 unknown parameter", "permessage-deflate; x", takeover, DeflateParams{}, ErrExtensionResponse},
		{"7.1 repeated parameter", "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", takeover, DeflateParams{}, ErrExtensionResponse},
		{"another extension", "permessage-bzip2", takeover, DeflateParams{}, ErrExtensionResponse},
		{"one too many", "permessage-deflate, permessage-deflate", takeover, DeflateParams{}, ErrExtensionResponse},
		{"malformed", "permessage-deflate;;", takeover, DeflateParams{}, ErrExtensionSyntax},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := AcceptDeflate(tt.header, tt.cfg)
			if p != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("AcceptDeflate(%q) = %+v, %v, want %+v, %v", tt.header, p, err, tt.want, tt.err)
			}
		})
	}
}

// TestDeflateHandshake: whatever the two ends want, they agree on the same.
func TestDeflateHandshake(t *testing.T) {
	for i := range 64 {
		client := DeflateConfig{ServerContextTakeover: i&1 != 0, ClientContextTakeover: i&2 != 0}
		server := DeflateConfig{ServerContextTakeover: i&4 != 0, ClientContextTakeover: i&8 != 0, ClientMaxWindowBits: []int{0, 8, 12, 15}[i>>4]}
		p, response, err := NegotiateDeflate(DeflateOffer(client), server)
		if err != nil || !p.Enabled {
			t.Fatalf("%+v, %+v: the server says %+v, %v", client, server, p, err)
		}
		got, err := AcceptDeflate(response, client)
		if err != nil || got != p {
			t.Errorf("%+v, %+v: the client says %+v, %v, the server %+v", client, server, got, err, p)
		}
	}
}

func FuzzNegotiateDeflate(f *testing.F) {
	f.Add(`permessage-deflate; server_max_window_bits="10"; client_max_window_bits, x;y=z`)
	f.Fuzz(func(t *testing.T, header string) {
		p, response, err := NegotiateDeflate(header, DeflateConfig{ServerContextTakeover: true, ClientContextTakeover: true, ClientMaxWindowBits: 9})
		if p.Enabled != (response != "") || err != nil && p.Enabled {
			t.Fatalf("NegotiateDeflate(%q) = %+v, %q, %v", header, p, response, err)
		}
		if !p.Enabled {
			return
		}
		for _, bits := range []int{p.ServerMaxWindowBits, p.ClientMaxWindowBits} {
			if bits < minWindowBits || bits > maxWindowBits {
				t.Fatalf("NegotiateDeflate(%q) = %+v", header, p)
			}
		}
		answer, err := AcceptDeflate(response, DeflateConfig{ServerContextTakeover: true, ClientContextTakeover: true})
		if err != nil || answer.ServerMaxWindowBits != p.ServerMaxWindowBits || answer.ServerNoContextTakeover != p.ServerNoContextTakeover {
			t.Fatalf("NegotiateDeflate(%q) answers %q: %+v, %v", header, response, answer, err)
		}
	})
}
