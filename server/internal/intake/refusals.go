package intake

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Refusal is a kind of refusal that a wrong setting may have caused, here, in a
// proxy or in the clients. The operator sees only the log.
type Refusal uint8

// The kinds.
const (
	RefusedOrigin Refusal = iota
	RefusedNoProxyHeader
	RefusedProxyHeader
	IgnoredForwarded
	RefusedTLS
	RefusedPlain
	RefusedHead
	RefusedFull
	RefusedStorm
	RefusedAddress
	RefusedRate
	RefusedHandshakes
	RefusedWork
	RefusedMessage
	refusalKinds
)

// refusalTexts are the line of each kind: what happened, and what to change if it
// should not. Flags have the names of Config's fields.
var refusalTexts = [refusalKinds]struct{ message, advice string }{
	RefusedOrigin: {"web pages of an origin were refused",
		"if they may connect, add the origin to --origins; if the host is not the one in the page's address, let the proxy pass Host on"},
	RefusedNoProxyHeader: {"connections of a balancer came without a valid PROXY header",
		"turn the PROXY protocol on in the balancer, or take its address out of --proxy-protocol"},
	RefusedProxyHeader: {"connections with a PROXY header were refused",
		"add the balancer's address to --proxy-protocol, or turn the PROXY protocol off there"},
	IgnoredForwarded: {"a forwarded header from an address that is not trusted was ignored",
		"if the address is a proxy's, add it to --trusted-proxies: its clients count as one until then"},
	RefusedTLS: {"TLS on a port that takes plain HTTP was refused",
		"let clients use ws://, or give the port a certificate: --tls-cert and --tls-key, or --tls-addr for a port of its own"},
	RefusedPlain: {"plain HTTP on a port that takes TLS was refused",
		"let clients, proxies and health checks use wss:// or https://, or add a port without TLS"},
	RefusedHead: {"request heads that are too long were refused",
		"raise --handshake-max-bytes, or look at the cookies"},
	RefusedFull: {"connections beyond the limit were refused",
		"raise --max-connections; roost doctor says how many the machine can hold"},
	RefusedStorm: {"newcomers beyond those that can wait were told when to come back",
		"that is right in a storm; if it lasts, raise --admit-rate, where it is set, or use more processors"},
	RefusedAddress: {"connections beyond the limit of an address were refused",
		"raise --connections-per-address; if the address is a proxy's, add it to --trusted-proxies"},
	RefusedRate: {"an address that connects too often was refused",
		"raise --connect-rate-per-address; if the address is a proxy's, add it to --trusted-proxies"},
	RefusedHandshakes: {"connections waited in vain for others to finish their request",
		"raise --handshakes-max, if these are not an attack"},
	RefusedWork: {"requests beyond those that the application works on were refused",
		"raise --authorize-max-pending, or make the application faster"},
	RefusedMessage: {"messages that are too long were refused",
		"raise --message-max-bytes, or send less at a time"},
}

// refusalInterval is how often a kind may be in the log.
const refusalInterval = time.Minute

// Refusals writes refusals to the log: one line a kind and interval, with their
// number and one of them as an example. The methods may be called from any
// goroutine.
type Refusals struct {
	// Log is set before the first call.
	Log *slog.Logger

	kinds [refusalKinds]struct {
		count atomic.Uint64 // since the last line
		mu    sync.Mutex
		due   time.Duration // guarded by mu: when the next line may come, 0 for at once
		attrs []slog.Attr   // guarded by mu: the example
	}
}

// Count counts one refusal. It reports whether the caller should give it as an
// example, which costs memory; for most it returns false.
func (r *Refusals) Count(kind Refusal) (example bool) { return r.kinds[kind].count.Add(1) == 1 }

// Example describes the refusal that was just counted. now is on the shards'
// clock.
func (r *Refusals) Example(kind Refusal, now time.Duration, attrs ...slog.Attr) {
	k := &r.kinds[kind]
	k.mu.Lock()
	k.attrs = attrs
	k.mu.Unlock()
	r.write(kind, now)
}

// Sweep writes what has gathered since the last lines. One goroutine calls it, a
// few times a second.
func (r *Refusals) Sweep(now time.Duration) {
	for kind := range r.kinds {
		if r.kinds[kind].count.Load() > 0 {
			r.write(Refusal(kind), now)
		}
	}
}

func (r *Refusals) write(kind Refusal, now time.Duration) {
	k := &r.kinds[kind]
	k.mu.Lock()
	defer k.mu.Unlock()
	if now < k.due || k.attrs == nil {
		return // not yet, or its example is on its way
	}
	n := k.count.Swap(0)
	attrs := append([]slog.Attr{slog.Uint64("count", n)}, k.attrs...)
	k.attrs, k.due = nil, now+refusalInterval
	text := &refusalTexts[kind]
	r.Log.LogAttrs(context.Background(), slog.LevelWarn, text.message, append(attrs, slog.String("advice", text.advice))...)
}
