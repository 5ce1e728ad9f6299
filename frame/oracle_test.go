package frame

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// oracle decodes a stream with gobwas/ws, which reads from blocking sources. It
// returns the messages, the code to close with (0: none), and whether the stream
// ends inside a header.
//
// Where gobwas/ws is laxer than this package, the oracle adds the rule itself:
//   - lengths that are not in their shortest form (ws.ReadHeader takes them);
//   - RSV2 and RSV3, RSV1 anywhere but on a message's first frame (with an
//     extension, ws.CheckHeader lets all of them pass);
//   - the size and the number of fragments of a message (it has no limits).
//
// What it cannot do is judge a header that is not complete; the caller must
// then allow for an earlier verdict.
func oracle(cfg *DecoderConfig, stream []byte) (events []event, code CloseCode, inHeader bool) {
	r := bytes.NewReader(stream)
	state := ws.StateClientSide
	if cfg.ExpectMasked {
		state = ws.StateServerSide
	}
	if cfg.AllowRSV1 {
		state = state.Set(ws.StateExtended)
	}
	var (
		op         ws.OpCode
		message    []byte
		declared   int64
		fragments  int
		compressed bool
		text       *wsutil.UTF8Reader
	)
	for {
		before := r.Len()
		h, err := ws.ReadHeader(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return events, 0, before > 0
		}
		if err != nil || ws.CheckHeader(h, state) != nil || ws.HeaderSize(h) != before-r.Len() {
			return events, CloseProtocolError, false
		}
		if h.Rsv != 0 && (h.Rsv != RSV1 || h.OpCode.IsControl() || h.OpCode == ws.OpContinuation) {
			return events, CloseProtocolError, false
		}
		if h.OpCode.IsData() {
			if h.OpCode != ws.OpContinuation {
				op, message, declared, fragments, compressed = h.OpCode, nil, 0, 0, h.Rsv1()
				text = wsutil.NewUTF8Reader(nil)
			}
			state = state.Set(ws.StateFragmented)
			if h.Length > cfg.maxMessageBytes()-declared {
				return events, CloseMessageTooBig, false
			}
			declared += h.Length
			if fragments++; fragments > cfg.maxFragments() {
				return events, ClosePolicyViolation, false
			}
		}
		payload := make([]byte, min(h.Length, int64(r.Len())))
		if _, err := io.ReadFull(r, payload); err != nil {
			panic(err)
		}
		if h.Masked {
			ws.Cipher(payload, h.Mask, 0)
		}
		whole := int64(len(payload)) == h.Length
		if h.OpCode.IsControl() {
			if whole {
				events = append(events, event{op: Opcode(h.OpCode), payload: string(payload)})
			}
			continue
		}
		if op == ws.OpText && !compressed {
			text.Source = bytes.NewReader(payload)
			if _, err := io.Copy(io.Discard, text); err != nil {
				return events, CloseInvalidPayload, false
			}
		}
		message = append(message, payload...)
		if !whole || !h.Fin {
			continue
		}
		if op == ws.OpText && !compressed && !text.Valid() {
			return events, CloseInvalidPayload, false
		}
		if compressed {
			if message, code = oracleInflate(message, cfg.maxInflatedBytes()); code != 0 {
				return events, code, false
			}
			if op == ws.OpText && !utf8.Valid(message) {
				return events, CloseInvalidPayload, false
			}
		}
		state = state.Clear(ws.StateFragmented)
		events = append(events, event{Opcode(op), string(message), compressed})
	}
}

// oracleInflate inflates with the standard library, which stops at a final block
// inside the message as ours does: then what follows is a stream of its own.
func oracleInflate(payload []byte, limit int64) (message []byte, code CloseCode) {
	if len(payload) == 0 {
		return nil, 0
	}
	in := bytes.NewReader(append(bytes.Clone(payload), inflateTail...))
	for {
		fr := flate.NewReaderDict(in, message)
		more, err := io.ReadAll(io.LimitReader(fr, limit+1-int64(len(message))))
		message = append(message, more...)
		switch {
		case int64(len(message)) > limit:
			return nil, CloseMessageTooBig
		case err != nil:
			return nil, CloseInvalidPayload
		case in.Len() <= len(inflateTail):
			return message, 0
		}
	}
}

// checkStream decodes a stream whole, byte by byte and cut at random, and holds
// all three against each other and against the oracle.
func checkStream(t *testing.T, cfg *DecoderConfig, stream []byte, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	var random []int
	for at := rng.IntN(40); at < len(stream); at += rng.IntN(40) {
		random = append(random, at)
	}
	wantEvents, wantCode, inHeader := oracle(cfg, stream)
	want := fmt.Sprint(wantEvents)
	var first error
	var idle bool
	for i, cuts := range [][]int{nil, everyByte(stream), random} {
		events, d, err := decode(t, cfg, stream, cuts...)
		if got := fmt.Sprint(events); got != want {
			t.Fatalf("seed %d, cut %v, stream %x:\n%s, %v\nthe oracle:\n%s, %d", seed, cuts, stream, got, err, want, wantCode)
		}
		if got := CloseCodeOf(err); got != wantCode && !(inHeader && got == CloseProtocolError) {
			t.Fatalf("seed %d, cut %v, stream %x: %v, the oracle: %d", seed, cuts, stream, err, wantCode)
		}
		if i == 0 {
			first, idle = err, d.Idle()
		}
		if fmt.Sprint(err) != fmt.Sprint(first) || d.Idle() != idle {
			t.Fatalf("seed %d, cut %v, stream %x: %v, Idle() = %v; in one piece: %v, %v", seed, cuts, stream, err, d.Idle(), first, idle)
		}
		d.Reset(cfg)
	}
}

// randomStream makes frames that are mostly right, so that most streams go
// on for a while and their ends differ.
// With rsv1, a few are compressed.
func randomStream(rng *rand.Rand, masked, rsv1 bool) (stream []byte) {
	sizes := []int{0, 1, 2, 3, 5, 16, 30, 125, 126, 127, 200}
	texts := []string{"", "a", "Hello", "\u20ac", "\U0001f600 \u00e4", "\xe2\x82", "\xac", "\xff", "\xf0\x9f"}
	open := false
	for range 1 + rng.IntN(12) {
		h := Header{Fin: rng.IntN(2) > 0, Masked: masked}
		switch k := rng.IntN(10); {
		case k < 3:
			h.Opcode, h.Fin = []Opcode{OpPing, OpPong, OpClose}[k], true
		case open:
			h.Opcode, open = OpContinuation, !h.Fin
		default:
			h.Opcode, open = OpText+Opcode(rng.IntN(2)), !h.Fin
		}
		payload := make([]byte, sizes[rng.IntN(len(sizes))])
		if h.Opcode.IsControl() {
			payload = payload[:min(len(payload), maxControlBytes)]
		} else if rng.IntN(3) > 0 {
			payload = []byte(texts[rng.IntN(5+rng.IntN(len(texts)-4))])
		}
		if rsv1 && h.Fin && (h.Opcode == OpText || h.Opcode == OpBinary) && rng.IntN(2) == 0 {
			payload, h.Rsv = deflate(payload, maxWindowBits, nil), RSV1
		}
		h.Length = int64(len(payload))
		if rng.IntN(12) == 0 { // break a rule
			switch rng.IntN(6) {
			case 0:
				h.Opcode = Opcode(rng.IntN(16))
			case 1:
				h.Fin = !h.Fin
			case 2:
				h.Rsv = byte(rng.IntN(8))
			case 3:
				h.Masked = !h.Masked
			case 4:
				h.Length = rng.Int64N(1 << (1 + rng.IntN(62)))
			case 5:
				for i := range payload {
					payload[i] = byte(rng.Uint32())
				}
			}
		}
		if h.Masked {
			h.Mask = [4]byte{byte(rng.Uint32()), byte(rng.Uint32()), 0, 0xff}
			Mask(payload, h.Mask, 0)
		}
		stream = append(AppendHeader(stream, h), payload...)
	}
	return stream[:len(stream)-rng.IntN(min(len(stream), 4))]
}

func streamConfig(masked, rsv1 bool) *DecoderConfig {
	return &DecoderConfig{ExpectMasked: masked, AllowRSV1: rsv1, MaxMessageBytes: 400, MaxFragments: 4}
}

// TestDecoderAnyCutGivesTheSame is the property that an event loop rests on.
func TestDecoderAnyCutGivesTheSame(t *testing.T) {
	codes := map[CloseCode]int{}
	for seed := range uint64(5_000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		masked := seed&1 != 0
		rsv1 := seed&2 != 0
		cfg := streamConfig(masked, rsv1)
		stream := randomStream(rng, masked, rsv1)
		checkStream(t, cfg, stream, seed)
		_, code, _ := oracle(cfg, stream)
		codes[code]++
	}
	// The streams must reach every verdict, or the property says little.
	for _, code := range []CloseCode{0, CloseProtocolError, CloseInvalidPayload, ClosePolicyViolation, CloseMessageTooBig} {
		if codes[code] < 50 {
			t.Errorf("only %d streams end with code %d", codes[code], code)
		}
	}
}

// FuzzDecoder looks for a stream that the decoder and gobwas/ws see differently,
// or that depends on how it is cut.
func FuzzDecoder(f *testing.F) {
	for seed := range uint64(40) {
		masked, rsv1 := seed&1 != 0, seed&2 != 0
		f.Add(randomStream(rand.New(rand.NewPCG(seed, 1)), masked, rsv1), masked, rsv1, seed)
	}
	f.Add(slices.Concat(unhex(f, "0103 48656c 890121 8002 6c6f 88 02 03e8")), false, false, uint64(1))
	f.Fuzz(func(t *testing.T, stream []byte, masked, rsv1 bool, seed uint64) {
		checkStream(t, streamConfig(masked, rsv1), stream, seed)
	})
}
