// Package bench measures WebSocket servers over the wire: any server, by its
// URL and, for memory and CPU, its process ids. It never imports Roost's
// server.
//
// A scenario (RunIdle, RunEcho, RunBroadcast, RunStorm, RunMixed, RunSlow,
// RunHostile, RunGrow) starts generators, tells them what to do, measures the
// server meanwhile, and returns a Result: figures, distributions of latency,
// faults, warnings. Package bench/report shows results.
//
//	scenario_*.go   what is done, in which order, and what is reported
//	trial.go        what all scenarios share: open, settle, account for CPU
//	audience.go     which connections receive what is published; deliveries.go: which have it
//	fleet.go        the generators, as the parent sees them; protocol.go: JSON lines
//	generator_*.go  a generator: one process, one event loop, up to ~19,000 connections
//	payload.go      messages that prove where they come from and that they are whole
//	tracker.go      loss, repeats, disorder
//	generator_tls_linux.go: wss://; inflate.go, compression.go: permessage-deflate
//	native.go       the native protocol and its tokens
//	transport.go    its fallbacks: SSE and polls; generator_fallback_linux.go
//	hostile.go      bad clients, for RunHostile
//	latency.go      HDR histograms
//	process_*.go    CPU clocks, smaps_rollup
//
// # What is verified
//
// The answer to each upgrade, every frame's header, every byte of every
// message (a checksum, a stream and a sequence number are in the payload), and
// for each connection that each message came once and in order. A result in
// which one of these was wrong is not held.
//
// # What is believed
//
// CPU is the kernel's account of the server's processes, in nanoseconds: it is
// repeatable where times are not, and includes the kernel's work on loopback
// for the receiving side of each segment. Memory is anonymous resident memory
// of the server, as a difference to the time before the connections came, each
// measured once the server has come to rest. Latencies at a rate count from the
// time at which a message was due (no coordinated omission). A generator that
// is itself the bottleneck, and other programs on the machine, are warned about.
//
// bench/limit is the least that a server can spend; figures are ratios to it.
package bench
