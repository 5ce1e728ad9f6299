package bench

// The parent process measures and decides; generators, its children, hold the
// connections. They speak JSON lines over the child's standard input and
// output: each request is answered by one reply with its ID, and notices come
// in between, on their own.

// op names a request.
type op string

const (
	opOpen    op = "open"    // connect and upgrade; answered when all have succeeded or failed
	opProbe   op = "probe"   // find out which connections get this stream: receivers without one join it
	opMembers op = "members" // answered with a stream's members, and a connection that has none
	opArm     op = "arm"     // expect a stream's messages from a sequence number on
	opPublish op = "publish" // send messages of a stream from one connection
	opTraffic op = "traffic" // echo traffic; answered when it has ended and drained
	opStall   op = "stall"   // stop reading on some connections
	opResume  op = "resume"  // read again on all
	opReset   op = "reset"   // close all connections by RST
	opCount   op = "count"   // answered with the counters
	opDecoy   op = "decoy"   // serve hostile clients of a kind; answered with the URL
	opHostile op = "hostile" // be a hostile client
	opCalm    op = "calm"    // be one no longer; answered with what it did
)

type request struct {
	ID      int             `json:"id"`
	Op      op              `json:"op"`
	Open    *openRequest    `json:"open,omitempty"`
	Stream  uint32          `json:"stream,omitempty"`
	Seq     uint64          `json:"seq,omitempty"`
	Publish *publishRequest `json:"publish,omitempty"`
	Traffic *trafficRequest `json:"traffic,omitempty"`
	// Hostile is for opDecoy and opHostile.
	Hostile *hostileRequest `json:"hostile,omitempty"`
	// Percent is the share of the connections that opStall takes.
	Percent int `json:"percent,omitempty"`
}

// openRequest asks for connections First ... First+Count-1.
type openRequest struct {
	URL       string   `json:"url"`
	Headers   []string `json:"headers,omitempty"`
	Subscribe []string `json:"subscribe,omitempty"`
	First     int      `json:"first"`
	Count     int      `json:"count"`
	// Grow keeps the connections that are open, and their counters.
	Grow bool `json:"grow,omitempty"`
	// InFlight bounds connections that are not upgraded yet.
	InFlight  int   `json:"in_flight"`
	TimeoutNs int64 `json:"timeout_ns"`
	// LocalSources spreads connections over 127.0.0.x.
	LocalSources bool `json:"local_sources"`
	// Trust is for wss:// URLs.
	Trust trust `json:"trust,omitzero"`
	// Tokens are what {{.Token}} stands for.
	Tokens tokens `json:"tokens,omitzero"`
	// Native counts replies of the native protocol and answers heartbeats.
	Native bool `json:"native,omitempty"`
	// Compression offers permessage-deflate; JSON makes payloads look like it.
	Compression bool `json:"compression,omitempty"`
	JSON        bool `json:"json,omitempty"`
	Binary      bool `json:"binary"`
	// Transport is the clients', Channel what clients of a fallback subscribe to.
	// PollEveryNs is Options.pollEvery.
	Transport   Transport `json:"transport"`
	Channel     string    `json:"channel,omitempty"`
	PollEveryNs int64     `json:"poll_every_ns,omitempty"`
}

// hostileRequest names a kind of hostile client and the server that it is let
// loose on.
type hostileRequest struct {
	Kind  string `json:"kind"`
	URL   string `json:"url"`
	Trust trust  `json:"trust,omitzero"`
}

// publishRequest sends Count messages from connection Conn, the k-th with
// sequence number Seq+k, due at StartNs + k x IntervalNs (at once, where StartNs
// is 0).
type publishRequest struct {
	Conn       int    `json:"conn"`
	Stream     uint32 `json:"stream"`
	Seq        uint64 `json:"seq"`
	Count      int    `json:"count"`
	StartNs    int64  `json:"start_ns,omitempty"`
	IntervalNs int64  `json:"interval_ns,omitempty"`
	Bytes      int    `json:"bytes"`
}

// trafficRequest starts all classes at StartNs and ends them at EndNs; samples
// due before RecordNs are not recorded.
type trafficRequest struct {
	StartNs, RecordNs, EndNs int64
	// DrainNs is how long after EndNs to wait for what is missing.
	DrainNs int64
	Bytes   int
	Classes []trafficClass
}

// trafficClass is echo traffic on some of a generator's connections.
type trafficClass struct {
	Name string
	// Conns are the connections, by their number.
	Conns []int
	// IntervalNs is the distance between two messages of the class, which its
	// connections send in turn. If zero, each connection sends its next message
	// when the last has come back.
	IntervalNs int64
}

type reply struct {
	ID    int    `json:"id,omitempty"`
	Error string `json:"error,omitempty"`
	// Notice is set where this is no reply.
	Notice *notice `json:"notice,omitempty"`
	Count  int     `json:"count,omitempty"`
	// Free is a connection that receives no stream yet, or noConn.
	Free    int            `json:"free,omitempty"`
	Open    *openReply     `json:"open,omitempty"`
	Traffic []classReply   `json:"traffic,omitempty"`
	Counts  *generatorView `json:"counts,omitempty"`
	// URL is the decoy's, Hostile what a hostile client did.
	URL     string        `json:"url,omitempty"`
	Hostile *hostileTally `json:"hostile,omitempty"`
}

// notice reports progress in opening, or of one message that all members have.
type notice struct {
	Opened int `json:"opened,omitempty"`
	// Stream and Seq name a message that arrived at all of this generator's
	// members; the first of them got it at FirstNs, the last at LastNs.
	Stream  uint32 `json:"stream,omitempty"`
	Seq     uint64 `json:"seq,omitempty"`
	FirstNs int64  `json:"first_ns,omitempty"`
	LastNs  int64  `json:"last_ns,omitempty"`
	SentNs  int64  `json:"sent_ns,omitempty"`
}

// noConn is no connection's number.
const noConn = -1

type openReply struct {
	Opened int            `json:"opened"`
	Failed map[string]int `json:"failed,omitempty"`
	// Latency runs from connect(2) to the verified upgrade.
	Latency *histogram `json:"latency"`
}

type classReply struct {
	Name           string
	Sent, Received uint64
	Arrivals       Arrivals
	Latency        *histogram
	// Lateness is how far behind its schedule the generator sent.
	Lateness *histogram
	// Backlogged counts messages that were not sent because the server did not
	// read what came before.
	Backlogged uint64
}

// generatorView is what a generator knows at one moment.
type generatorView struct {
	Open, Closed int
	// Compressed are those of the open ones that may get compressed messages.
	Compressed int `json:",omitempty"`
	// FrameBytes are those of the frames that Arrivals counts, MessageBytes those
	// of the messages in them.
	FrameBytes, MessageBytes uint64
	// ClosedBy counts closes that we did not ask for, by reason.
	ClosedBy map[string]int `json:",omitempty"`
	// Arrivals are those of the armed stream's members that were not stalled.
	Arrivals Arrivals
	// Others counts messages that are not ours: greetings, acknowledgements.
	Others uint64
	// Replies are those of the native protocol, Refused those of them that are
	// errors.
	Replies, Refused uint64
	// ProtocolErrors counts frames that RFC 6455 forbids a server to send, and
	// events and responses that are malformed.
	ProtocolErrors uint64
	FirstFault     string `json:",omitempty"`
	Latency        *histogram
	Lateness       *histogram
	Stalled        int
	Backlogged     uint64
	Pings          uint64
	// BytesDown and BytesUp are all that came from the server and went to it, as
	// payload of TCP. Requests are those of clients that poll.
	BytesDown, BytesUp, Requests uint64
}

func newGeneratorView() generatorView {
	return generatorView{ClosedBy: make(map[string]int), Latency: newHistogram(), Lateness: newHistogram()}
}
