package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"unicode/utf8"

	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// ask has work done that may block, on a goroutine of its own, and then tells
// the loop. Meanwhile the client is not read, so its commands keep their order. work must not
// touch t; then is called with the same command, if the connection still lives.
// The client is told if work takes longer than HandshakeTimeout, and what becomes of
// it then is of no interest any more. ask answers false, and has told the client,
// if too much such work is under way.
func (t *task) ask(what string, work func(ctx context.Context) error, then func(t *task, err error)) bool {
	server := t.h.server
	if !server.work.TryAcquire(1) {
		t.fail(ErrBusy)
		return false
	}
	own := *t // the loop uses t again
	own.cmd.Data = nil
	t.s.Pause(t.id)
	ctx, cancel := context.WithTimeout(server.ctx, server.cfg.Timeouts.HandshakeTimeout)
	var once sync.Once
	finish := func(err error) {
		once.Do(func() {
			_ = own.s.Call(func(sh *shard.Shard) {
				if sh != nil && sh.IsOpen(own.id) {
					then(&own, err)
					sh.Unpause(own.id)
				}
			})
		})
	}
	stop := context.AfterFunc(ctx, func() {
		finish(context.DeadlineExceeded)
	})
	go func() {
		defer server.work.Release(1)
		defer cancel()
		err := errGone // what a goroutine that just ends (runtime.Goexit) leaves behind
		defer func() {
			if value := recover(); value != nil {
				server.panicked(what, own.id, value)
			}
			stop()
			finish(err)
		}()
		if err = work(ctx); ctx.Err() != nil {
			err = context.DeadlineExceeded // nobody is let in by a look-up that was cut short
		}
	}()
	return true
}

var errGone = errors.New("server: a hook ended without an answer")

// errNotJSON: a hook's answer would break the message that it is a part of.
var errNotJSON = errors.New("not valid JSON")

// checkJSON refuses an answer of a hook's that is neither JSON nor nothing.
func checkJSON(hook, field string, value []byte) error {
	if len(value) == 0 || json.Valid(value) && utf8.Valid(value) {
		return nil
	}
	return fmt.Errorf("server: %s has set %s to %.40q: %w", hook, field, value, errNotJSON)
}

// refusal is a hook's error as the client is told it.
func (t *task) refusal(what string, err error) error {
	var known *protocol.Error
	if errors.As(err, &known) || errors.Is(err, errGone) || errors.Is(err, errNotJSON) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	t.h.server.cfg.Logger.Info("the application refused a native client", "what", what, "conn_id", t.id.String(), "err", err)
	return &protocol.Error{Code: protocol.CodePermissionDenied, Message: "permission denied"}
}

// addr is the client's address, looked up on the loop.
func (t *task) addr() netip.AddrPort { return t.s.RemoteAddr(t.id) }
