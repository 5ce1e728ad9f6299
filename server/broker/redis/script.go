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

// head is what all scripts begin with. The verbs stand for the process: its run_id, the ID of
// its replication history, and whether another process with its data is trusted to have
// all that it had. A server that was a replica and was promoted has a new history: what it
// had before is gone, even if nothing was written meanwhile, so the scripts fail from then
// on. memory returns the name of what the process remembers: a fresh one if the data comes
// from another process, or from another time of this one. at returns the epoch and the offset
// of a channel; fresh is the epoch if there is none, or if it is of another memory.
const head = `
local run, history, trusted = %q, %q, %t
local function memory(fence, fresh)
  if not string.find(redis.call('INFO', 'replication'), 'master_replid:' .. history, 1, true) then
    error({err = 'FENCED the server was a replica meanwhile, or has begun to have replicas'})
  end
  local f = redis.call('HMGET', fence, 'r', 'm')
  local mine = run .. ' ' .. history
  if f[1] == mine then return f[2] end
  if trusted and f[1] and string.sub(f[1], 1, #run) ~= run then fresh = f[2] end
  redis.call('HSET', fence, 'r', mine, 'm', fresh)
  return fresh
end
local function at(meta, stream, fence, fresh)
  local m = memory(fence, fresh)
  local v = redis.call('HMGET', meta, 'e', 'o', 'r')
  if v[3] == m then return v[1], v[2] end
  redis.call('HSET', meta, 'e', fresh, 'o', 0, 'r', m)
  redis.call('DEL', stream)
  return fresh, '0'
end
`

// publishScript: KEYS channel's meta, stream, fence, idempotency key (if there is one); ARGV
// messages to keep, their age and that of meta in milliseconds, a fresh epoch, topic,
// message, age of the idempotency key, digest, PUBLISH or SPUBLISH. It returns {duplicate,
// epoch, offset, nodes}, or {-1} for a key that belongs to another publication. What needs
// memory comes first: a server without it refuses the first such command of a script only.
const publishScript = head + `
if KEYS[4] then
  local k = redis.call('HMGET', KEYS[4], 'd', 'e', 'o')
  if k[1] then
    if k[1] ~= ARGV[8] then return {-1} end
    return {1, k[2], k[3], 0}
  end
end
local e, o, place = '', '0', ''
if ARGV[1] ~= '0' then
  e = at(KEYS[1], KEYS[2], KEYS[3], ARGV[4])
  o = string.format('%%d', redis.call('HINCRBY', KEYS[1], 'o', 1))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  local t = redis.call('TIME')
  local ms = string.format('%%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
  redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[1], o .. '-0', 't', ms, 'm', ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  place = e .. ' ' .. o .. ' ' .. ms
end
if KEYS[4] then
  redis.call('HSET', KEYS[4], 'd', ARGV[8], 'e', e, 'o', o)
  redis.call('PEXPIRE', KEYS[4], ARGV[7])
end
return {0, e, o, redis.call(ARGV[9], ARGV[5], place .. '\n' .. ARGV[6])}
`

// readScript: KEYS channel's meta, stream, fence; ARGV age of messages and of meta in
// milliseconds, a fresh epoch, since (epoch and offset), messages at most. It returns {epoch,
// offset, entries}.
const readScript = head + `
local e, o = at(KEYS[1], KEYS[2], KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local t = redis.call('TIME')
local oldest = t[1] * 1000 + math.floor(t[2] / 1000) - tonumber(ARGV[1])
while true do
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if not first or (tonumber(first[2][2]) or oldest) >= oldest then break end
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

// load loads the scripts into the process at the other end of c.
func load(ctx context.Context, c rueidis.DedicatedClient, trusted, cluster bool) (s scripts, err error) {
	text, err := c.Do(ctx, c.B().Info().Build()).ToString()
	if err != nil {
		return s, fmt.Errorf("redis: info: %w", err)
	}
	info := func(field string) string {
		_, rest, _ := strings.Cut(text, "\n"+field+":")
		value, _, _ := strings.Cut(rest, "\r\n")
		return value
	}
	run, history := info("run_id"), info("master_replid")
	switch {
	case run == "" || history == "":
		return s, errors.New("redis: the server does not name its run_id and its master_replid")
	case info("role") != "master":
		return s, errors.New("redis: the server is a replica")
	case (info("cluster_enabled") == "1") != cluster && cluster:
		return s, errors.New("redis: the server is not one of a cluster: the URL is to begin with redis://")
	case (info("cluster_enabled") == "1") != cluster:
		return s, errors.New("redis: the server is one of a cluster: the URL is to begin with redis+cluster://")
	case trusted:
		if err := durable(ctx, c, info("aof_enabled")); err != nil {
			return s, err
		}
	}
	for _, one := range []struct {
		sha  *string
		text string
	}{{&s.publish, publishScript}, {&s.read, readScript}} {
		if *one.sha, err = c.Do(ctx, c.B().ScriptLoad().Script(fmt.Sprintf(one.text, run, history, trusted)).Build()).ToString(); err != nil {
			return s, fmt.Errorf("redis: script load: %w", err)
		}
	}
	return s, nil
}

// durable returns an error if a server that is trusted to lose nothing is not set up so. One
// that does not show its settings is believed.
func durable(ctx context.Context, c rueidis.DedicatedClient, appendOnly string) error {
	if appendOnly != "1" {
		return errors.New("redis: trust=true needs appendonly yes and appendfsync always; it has no append-only file")
	}
	settings, err := c.Do(ctx, c.B().ConfigGet().Parameter("appendfsync").Build()).AsStrMap()
	if sync := settings["appendfsync"]; err == nil && sync != "" && sync != "always" {
		return fmt.Errorf("redis: trust=true needs appendfsync always; it is %s", sync)
	}
	if err != nil && codeOf(err) == "" {
		return fmt.Errorf("redis: config get: %w", err)
	}
	return nil
}

// newID returns the epoch of a channel that has none.
func newID() string { return wire.NewID() }

// The keys and the topic of a channel. In a cluster they begin with the tag of the channel's
// part, so that one server has them all.
func (b *Broker) meta(channel string) string   { return b.place(channel) + "m:" + channel }
func (b *Broker) stream(channel string) string { return b.place(channel) + "s:" + channel }
func (b *Broker) fence(channel string) string  { return b.place(channel) + "fence" }
func (b *Broker) key(channel, k string) string {
	return b.place(channel) + "i:" + strconv.Itoa(len(channel)) + ":" + channel + k
}
func (b *Broker) topic(channel string) string {
	if b.cluster != nil {
		return b.place(channel) + "c:" + channel
	}
	return b.topics + channel
}

// place is what the keys of a channel begin with.
func (b *Broker) place(channel string) string {
	if b.cluster != nil {
		return b.prefix + "{" + parts.tags[partOf(channel)] + "}"
	}
	return b.prefix
}

// channelOf returns the channel of a topic.
func (b *Broker) channelOf(topic string) (channel string, ok bool) {
	if b.cluster == nil {
		return strings.CutPrefix(topic, b.topics)
	}
	rest, ok := strings.CutPrefix(topic, b.prefix+"{")
	if !ok {
		return "", false
	}
	_, channel, ok = strings.Cut(rest, "}c:")
	return channel, ok
}

func millis(d time.Duration) string      { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }
func metaMillis(keep broker.Keep) string { return millis(max(metaAge, 2*keep.Age)) }

// publication is the command of a publication.
func (l *life) publication(p *broker.Publication, done func(broker.Placed, error)) command {
	keys := []string{l.b.meta(p.Channel), l.b.stream(p.Channel), l.b.fence(p.Channel)}
	if p.IdempotencyKey != "" {
		keys = append(keys, l.b.key(p.Channel, p.IdempotencyKey))
	}
	publish := "PUBLISH"
	if l.b.cluster != nil {
		publish = "SPUBLISH"
	}
	cmd := l.client.B().Evalsha().Sha1(l.scripts.publish).Numkeys(int64(len(keys))).Key(keys...).
		Arg(strconv.Itoa(p.Keep.Messages), millis(p.Keep.Age), metaMillis(p.Keep), newID(), l.b.topic(p.Channel),
			string(appendMessage(nil, &p.Message)), millis(p.IdempotencyAge), strconv.FormatUint(p.Digest, 16), publish).Build()
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

// check publishes to a channel that nobody is in, and reads it: what the server refuses shows
// in the broker's health, and a server that takes it is well again.
func (l *life) check() {
	keep := broker.Keep{Messages: 1, Age: time.Second}
	l.b.mu.Lock()
	channel, ok := l.b.checkChannel(l.s)
	l.b.mu.Unlock()
	if !ok {
		return
	}
	written := false
	publication := l.publication(&broker.Publication{Message: broker.Message{Channel: channel}, Keep: keep}, func(_ broker.Placed, err error) { written = err == nil })
	read := l.reading(channel, keep, nil, func(_ broker.Page, err error) {
		if written && err == nil {
			l.s.refused(l, nil)
		}
	})
	l.do(publication)
	l.do(read)
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
func (l *life) reading(channel string, keep broker.Keep, since *history.Position, done func(broker.Page, error)) command {
	var from history.Position
	if since != nil {
		from = *since
	}
	cmd := l.client.B().Evalsha().Sha1(l.scripts.read).Numkeys(3).Key(l.b.meta(channel), l.b.stream(channel), l.b.fence(channel)).
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
			// It comes from a later version, or from somebody else. The page begins behind it: a
			// hole that is told.
			page.Messages = nil
			continue
		}
		page.Messages = append(page.Messages, m)
	}
	return page, nil
}
