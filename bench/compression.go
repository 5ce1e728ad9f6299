package bench

import "fmt"

// broadcastBoth publishes to connections without compression, then to as many
// with it, the same messages: what does it save, in bytes and in CPU?
func (t *trial) broadcastBoth(cfg *BroadcastConfig) error {
	if cfg.PublishURL != "" {
		// One place builds payloads there, another here; one is enough to trust.
		return fmt.Errorf("compression: publish by a connection, without --publish-url")
	}
	t.offer = false
	t.prefix, t.remark = "plain_", ", uncompressed"
	plain, err := t.broadcast(cfg)
	if err != nil {
		return err
	}
	if _, err := t.fleet.sendAll(t.ctx, request{Op: opReset}); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	t.offer = true
	t.prefix, t.remark = "", ", compressed"
	compressed, err := t.broadcast(cfg)
	if err != nil {
		return err
	}
	r := t.result
	before, after := plain["single"], compressed["single"]
	r.add("message_bytes", before.perDelivery(before.messageBytes), "B", "bytes of a message")
	r.add("plain_frame_bytes", before.perDelivery(before.frameBytes), "B", "bytes of its frame on the wire, uncompressed")
	r.add("frame_bytes", after.perDelivery(after.frameBytes), "B", "bytes of its frame on the wire, compressed")
	r.add("bytes_saved", 100*saved(before.perDelivery(before.frameBytes), after.perDelivery(after.frameBytes)), "%", "bytes saved")
	if t.measured() {
		for _, name := range []string{"single", "saturated"} {
			share := saved(per(plain[name].server, plain[name].delivered), per(compressed[name].server, compressed[name].delivered))
			r.add(name+"_cpu_saved", 100*share, "%", "server CPU saved per delivery, "+partTexts[name])
		}
	}
	return nil
}

// saved is the share of before that after does without, negative where it is
// more.
func saved(before, after float64) float64 {
	if before == 0 {
		return 0
	}
	return 1 - after/before
}

func (p *part) perDelivery(n uint64) float64 { return float64(n) / float64(max(1, p.delivered)) }

// checkCompressed makes it a fault if a server declines what was to be
// measured.
func (t *trial) checkCompressed(step string, open int) error {
	if !t.offer {
		return nil
	}
	v, err := t.views()
	if err == nil && v.Compressed < open {
		t.result.fault("%s: the server declined permessage-deflate on %d of %d connections", step, open-v.Compressed, open)
	}
	return err
}
