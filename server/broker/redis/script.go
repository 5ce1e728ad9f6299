package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/internal/wire"
	"github.com/roostws/roost/server/history"
)

// scripts are the digests of those that are loaded in one process.
type scripts struct{ publish, read string }

// head is what all scripts begin with. %q is the run_id of the process. memory returns the
// name of what the process remembers: a fresh one if the data comes from another process,
// be it that this one was its replica for a while. at returns the epoch and the offset of a
// channel; fresh is the epoch if there is none, or if it is of another memory.
const head = `
local run = %q
local function memory(fence, fresh)
  local f = redis.call('HMGET', fence, 'r', 'm')
  if f[1] == run then return f[2] end
  redis.call('HSET', fence, 'r', run, 'm', fresh)
  return fresh
end
local function at(meta, stream, fence, fresh, ttl)
  local m = memory(fence, fresh)
  local v = redis.call('HMGET', meta, 'e', 'o', 'r')
  if v[3] ~= m then
    redis.call('DEL', stream)
    redis.call('HSET', meta, 'e', fresh, 'o', 0, 'r', m)
    v = {fresh, '0'}
  end
  redis.call('PEXPIRE', meta, ttl)
  return v[1], v[2]
end
`

// claimScript: KEYS fence; ARGV a fresh name. It notes whose the data is. PERSIST changes
// nothing, but a replica refuses it.
const claimScript = head + `
memory(KEYS[1], ARGV[1])
return redis.call('PERSIST', KEYS[1])
`

// publishScript: KEYS channel's meta, stream, fence, idempotency key (or empty); ARGV
// messages to keep, their age and that of meta in milliseconds, a fresh epoch, topic,
// message, age of the idempotency key, digest. It returns {duplicate, epoch, offset, nodes},
// or {-1} for a key that belongs to another publication.
const publishScript = head + `
if KEYS[4] ~= '' then
  local k = redis.call('HMGET', KEYS[4], 'd', 'e', 'o')
  if k[1] then
    if k[1] ~= ARGV[8] then return {-1} end
    return {1, k[2], k[3], 0}
  end
end
local e, o, place = '', '0', ''
if ARGV[1] ~= '0' then
  e = at(KEYS[1], KEYS[2], KEYS[3], ARGV[4], ARGV[3])
  o = string.format('%%d', redis.call('HINCRBY', KEYS[1], 'o', 1))
  local t = redis.call('TIME')
  local ms = string.format('%%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
  redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[1], o .. '-0', 't', ms, 'm', ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  place = e .. ' ' .. o .. ' ' .. ms
end
local nodes = redis.call('PUBLISH', ARGV[5], place .. '\n' .. ARGV[6])
if KEYS[4] ~= '' then
  redis.call('HSET', KEYS[4], 'd', ARGV[8], 'e', e, 'o', o)
  redis.call('PEXPIRE', KEYS[4], ARGV[7])
end
return {0, e, o, nodes}
`

// readScript: KEYS channel's meta, stream, fence; ARGV age of messages and of meta in
// milliseconds, a fresh epoch, since (epoch and offset), messages at most. It returns {epoch,
// offset, entries}.
const readScript = head + `
local e, o = at(KEYS[1], KEYS[2], KEYS[3], ARGV[3], ARGV[2])
local t = redis.call('TIME')
local oldest = t[1] * 1000 + math.floor(t[2] / 1000) - tonumber(ARGV[1])
while true do
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if not first or tonumber(first[2][2]) >= oldest then break end
  redis.call('XDEL', KEYS[2], first[1])
end
local from = '-'
if ARGV[4] == e then from = '(' .. ARGV[5] .. '-0' end
return {e, o, redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[6])}
`

const (
	// pageMax is how many messages a read returns at most: of 64 KiB, the largest that
	// clients may publish by default, they are 13 MB, which come within answerTimeout.
	pageMax = 200
	// metaAge is how long the position of a channel outlives its messages at least.
	metaAge = 7 * 24 * time.Hour
)

// load loads the scripts into the process at the other end of c, and claims the data for
// it.
func load(ctx context.Context, c rueidis.DedicatedClient, fence string) (s scripts, err error) {
	info, err := c.Do(ctx, c.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return s, fmt.Errorf("redis: info: %w", err)
	}
	_, rest, found := strings.Cut(info, "run_id:")
	run, _, _ := strings.Cut(rest, "\r\n")
	if !found || run == "" {
		return s, errors.New("redis: the server does not name its run_id")
	}
	for _, one := range []struct {
		sha  *string
		text string
	}{{&s.publish, publishScript}, {&s.read, readScript}} {
		if *one.sha, err = c.Do(ctx, c.B().ScriptLoad().Script(fmt.Sprintf(one.text, run)).Build()).ToString(); err != nil {
			return s, fmt.Errorf("redis: script load: %w", err)
		}
	}
	if err = c.Do(ctx, c.B().Eval().Script(fmt.Sprintf(claimScript, run)).Numkeys(1).Key(fence).Arg(newID()).Build()).Error(); err != nil {
		return s, fmt.Errorf("redis: it can't be written: %w", err)
	}
	return s, nil
}

// newID returns the epoch of a channel that has none.
func newID() string { return wire.NewID() }

// The keys and the topic of a channel.
func (b *Broker) meta(channel string) string   { return b.prefix + "m:" + channel }
func (b *Broker) stream(channel string) string { return b.prefix + "s:" + channel }
func (b *Broker) topic(channel string) string  { return b.topics + channel }
func (b *Broker) fence() string                { return b.prefix + "fence" }
func (b *Broker) key(channel, k string) string {
	return b.prefix + "i:" + strconv.Itoa(len(channel)) + ":" + channel + k
}
func millis(d time.Duration) string      { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }
func metaMillis(keep broker.Keep) string { return millis(max(metaAge, 2*keep.Age)) }

// publication is the command of a publication.
func (b *Broker) publication(l *life, p *broker.Publication, done func(broker.Placed, error)) command {
	idempotency := ""
	if p.IdempotencyKey != "" {
		idempotency = b.key(p.Channel, p.IdempotencyKey)
	}
	cmd := l.client.B().Evalsha().Sha1(l.scripts.publish).Numkeys(4).Key(b.meta(p.Channel), b.stream(p.Channel), b.fence(), idempotency).
		Arg(strconv.Itoa(p.Keep.Messages), millis(p.Keep.Age), metaMillis(p.Keep), newID(), b.topic(p.Channel),
			string(appendMessage(nil, &p.Message)), millis(p.IdempotencyAge), strconv.FormatUint(p.Digest, 16)).Build()
	return command{completed: cmd, done: func(result rueidis.RedisResult) {
		values, err := result.ToArray()
		if err != nil {
			done(broker.Placed{}, fate(err))
			return
		}
		placed, err := placedOf(values)
		done(placed, err)
	}, unsent: func() { done(broker.Placed{}, broker.ErrUnavailable) }}
}

// placedOf reads the result of publishScript.
func placedOf(values []rueidis.RedisMessage) (placed broker.Placed, err error) {
	if len(values) == 1 {
		if code, err := values[0].AsInt64(); err == nil && code < 0 {
			return placed, broker.ErrKeyReused
		}
	}
	if len(values) != 4 {
		return placed, fmt.Errorf("%w: redis: a strange result", broker.ErrUnknown)
	}
	code, err := values[0].AsInt64()
	epoch, err1 := values[1].ToString()
	offset, err2 := values[2].AsUint64()
	nodes, err3 := values[3].AsInt64()
	if err := errors.Join(err, err1, err2, err3); err != nil {
		return placed, fmt.Errorf("%w: redis: a strange result: %w", broker.ErrUnknown, err)
	}
	return broker.Placed{Position: history.Position{Epoch: epoch, Offset: offset}, Duplicate: code == 1, Nodes: int(nodes)}, nil
}

// reading is the command of a read.
func (b *Broker) reading(l *life, channel string, keep broker.Keep, since *history.Position, done func(broker.Page, error)) command {
	var from history.Position
	if since != nil {
		from = *since
	}
	cmd := l.client.B().Evalsha().Sha1(l.scripts.read).Numkeys(3).Key(b.meta(channel), b.stream(channel), b.fence()).
		Arg(millis(keep.Age), metaMillis(keep), newID(), from.Epoch, strconv.FormatUint(from.Offset, 10), strconv.Itoa(pageMax)).Build()
	return command{completed: cmd, read: true, done: func(result rueidis.RedisResult) {
		page, err := pageOf(channel, result)
		if err != nil {
			err = fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
		}
		done(page, err)
	}, unsent: func() { done(broker.Page{}, broker.ErrUnavailable) }}
}

// pageOf reads the result of readScript.
func pageOf(channel string, result rueidis.RedisResult) (page broker.Page, err error) {
	values, err := result.ToArray()
	if err != nil {
		return page, err
	}
	if len(values) != 3 {
		return page, errors.New("redis: a strange result")
	}
	epoch, err1 := values[0].ToString()
	offset, err2 := values[1].AsUint64()
	entries, err3 := values[2].AsXRange()
	if err := errors.Join(err1, err2, err3); err != nil {
		return page, err
	}
	page.Position = history.Position{Epoch: epoch, Offset: offset}
	for _, e := range entries {
		number, _, _ := strings.Cut(e.ID, "-")
		m, err := parse(channel, epoch+" "+number+" "+e.FieldValues["t"]+"\n"+e.FieldValues["m"])
		if err != nil {
			return page, err
		}
		page.Messages = append(page.Messages, m)
	}
	return page, nil
}
