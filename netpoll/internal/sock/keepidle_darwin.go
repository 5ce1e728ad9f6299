package sock

import "golang.org/x/sys/unix"

// tcpKeepIdle is the option that other systems call TCP_KEEPIDLE.
const tcpKeepIdle = unix.TCP_KEEPALIVE
