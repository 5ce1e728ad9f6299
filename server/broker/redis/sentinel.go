package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// An opinion is what one Sentinel, or one server of a cluster, says, and how new that is:
// the epoch of its configuration.
type opinion[T any] struct {
	value T
	epoch uint64
	err   error
}

// othersWait is how long the newest opinion is looked for once there is one: a Sentinel, or
// a server, that is cut off from the others does not know what they have agreed on.
const othersWait = 300 * time.Millisecond

// newest asks all addresses, and returns the newest opinion.
func newest[T any](ctx context.Context, addresses []string, ask func(ctx context.Context, address string) opinion[T]) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan opinion[T], len(addresses))
	for _, address := range addresses {
		go func() { answers <- ask(ctx, address) }()
	}
	best := opinion[T]{err: errors.New("redis: there is no address to ask")}
	var enough <-chan time.Time
	for range addresses {
		select {
		case one := <-answers:
			if one.err == nil && (best.err != nil || one.epoch > best.epoch) || one.err != nil && best.err != nil {
				best = one
			}
			if one.err == nil && enough == nil {
				enough = time.After(othersWait)
			}
		case <-enough:
			return best.value, best.err
		}
	}
	return best.value, best.err
}

// once runs one command on a connection of its own.
func once(ctx context.Context, o rueidis.ClientOption, address string, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	o.InitAddress = []string{address}
	client, err := rueidis.NewClient(o)
	if client != nil {
		defer client.Close()
	}
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	return client.Do(ctx, build(client.B())).ToMessage()
}

// ask asks the Sentinels where the server is.
func (t *target) ask(ctx context.Context) (string, error) {
	address, err := newest(ctx, t.addresses, func(ctx context.Context, sentinel string) (o opinion[string]) {
		reply, err := once(ctx, t.sentinel, sentinel, func(b rueidis.Builder) rueidis.Completed {
			return b.Arbitrary("SENTINEL", "MASTER", t.master).Build()
		})
		fields := map[string]string{}
		if err == nil {
			fields, err = reply.AsStrMap()
		}
		o.err = err
		o.epoch, _ = strconv.ParseUint(fields["config-epoch"], 10, 64)
		o.value = net.JoinHostPort(fields["ip"], fields["port"])
		return o
	})
	if err != nil {
		return "", fmt.Errorf("redis: no Sentinel says where %q is: %w", t.master, err)
	}
	return address, nil
}
