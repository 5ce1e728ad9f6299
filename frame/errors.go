package frame

// The verdicts that need no numbers. Each is made once, so that a flood of bad
// frames costs no allocations.
var (
	errLengthNotMinimal = violation("payload length is not in its shortest form")
	errLengthOverflow   = violation("highest bit of a 64-bit payload length is set")
	errOpcodeReserved   = violation("reserved opcode")
	errRSVBits          = violation("RSV bit is set without an extension that defines it")
	errRSV1NotFirst     = violation("RSV1 is only for the first frame of a data message")
	errMaskMissing      = violation("frame from a client is not masked")
	errMaskUnexpected   = violation("frame from a server is masked")
	errControlFragment  = violation("control frame is fragmented")
	errControlTooLong   = violation("control frame is longer than 125 bytes")
	errNothingToGoOn    = violation("continuation frame without a message to continue")
	errMessageOpen      = violation("new data frame before the fragmented message has ended")
	errCloseOneByte     = violation("close frame has a payload of one byte")

	errTextUTF8        = &ProtocolError{CloseInvalidPayload, "text is not valid UTF-8"}
	errCloseReasonUTF8 = &ProtocolError{CloseInvalidPayload, "close reason is not valid UTF-8"}
)

func violation(reason string) *ProtocolError {
	return &ProtocolError{CloseProtocolError, reason}
}
