package loop

import "golang.org/x/sys/unix"

// EpollEvents converts an interest for epoll_ctl(2). EPOLLRDHUP is not among
// them, because the end of the peer's direction sets EPOLLIN too, and a paused
// connection must not be woken by either.
func EpollEvents(in Interest) (events uint32) {
	if in&InterestRead != 0 {
		events |= unix.EPOLLIN
	}
	if in&InterestWrite != 0 {
		events |= unix.EPOLLOUT
	}
	if in&InterestExclusive != 0 {
		events |= unix.EPOLLEXCLUSIVE
	}
	return events
}

// EpollReadiness converts what epoll_wait(2) reports.
func EpollReadiness(events uint32) (what Readiness) {
	if events&unix.EPOLLIN != 0 {
		what |= ReadyRead
	}
	if events&unix.EPOLLOUT != 0 {
		what |= ReadyWrite
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		what |= ReadyHangup
	}
	return what
}
