package frame_test

import (
	"fmt"

	"github.com/roostws/roost/frame"
)

// A loop feeds whatever its socket gave, and asks afterwards whether the decoder
// must stay with the connection.
func ExampleDecoder_Next() {
	var d frame.Decoder
	d.Reset(&frame.DecoderConfig{ExpectMasked: true, MaxMessageBytes: 64 << 10})

	key := [4]byte{1, 2, 3, 4}
	stream := frame.AppendMaskedFrame(nil, frame.OpText, key, []byte("Hello"))
	stream = frame.AppendMaskedFrame(stream, frame.OpPing, key, nil)
	stream = frame.AppendMaskedFrame(stream, frame.OpText, key, []byte("not all of this"))

	for p := stream[:20]; len(p) > 0; {
		m, n, err := d.Next(p)
		if err != nil {
			// Send frame.AppendClose(nil, frame.CloseCodeOf(err), ...) and close.
			return
		}
		p = p[n:]
		if m.Opcode != 0 {
			fmt.Printf("%v %q\n", m.Opcode, m.Payload)
		}
	}
	fmt.Println("idle:", d.Idle())
	// Output:
	// text "Hello"
	// ping ""
	// idle: false
}

// A publisher encodes once; every subscriber gets the same bytes.
func ExamplePrepare() {
	p := frame.Prepare(frame.OpText, []byte("Hello"))
	fmt.Printf("% x\n", p.Bytes())
	// Output:
	// 81 05 48 65 6c 6c 6f
}

func ExampleNegotiateDeflate() {
	params, response, err := frame.NegotiateDeflate("permessage-deflate; client_max_window_bits", frame.DeflateConfig{})
	fmt.Println(params.Enabled, err)
	fmt.Println(response)
	// Output:
	// true <nil>
	// permessage-deflate; server_no_context_takeover; client_no_context_takeover
}
