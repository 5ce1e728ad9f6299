package pusher

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/jsonx"
)

// An event is one that a back end publishes.
type event struct {
	Name     string          `json:"name"`
	Data     json.RawMessage `json:"data"`
	Channel  string          `json:"channel"`
	Channels []string        `json:"channels"`
	SocketID string          `json:"socket_id"`
	Info     string          `json:"info"`
}

// read reads the body.
func (c *call) read(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return problemf(http.StatusBadRequest, "The body is not the JSON that is wanted: %v", err)
	}
	return nil
}

// check returns the event's channels, what is published in them, and to which connection
// not.
func (c *call) check(e *event) (payload []byte, except *hub.Except, err error) {
	if e.Name == "" || len(e.Name) > eventNameMax {
		return nil, nil, problemf(http.StatusBadRequest, "Missing required parameter, or longer than %d bytes: name", eventNameMax)
	}
	if e.Channel != "" && len(e.Channels) == 0 {
		e.Channels = []string{e.Channel}
	}
	switch n := len(e.Channels); {
	case n == 0:
		return nil, nil, problemf(http.StatusBadRequest, "Missing required parameter: channels")
	case n > channelsMax:
		return nil, nil, problemf(http.StatusBadRequest, "Cannot trigger an event to more than %d channels, and there are %d", channelsMax, n)
	}
	encrypted := 0
	for _, name := range e.Channels {
		if !validChannel(name) {
			return nil, nil, problemf(http.StatusBadRequest, "Invalid channel name %.170q: want up to %d letters, digits and _-=@,.;", name, channelNameMax)
		}
		if isEncrypted(name) {
			encrypted++
		}
	}
	if encrypted > 0 && len(e.Channels) > 1 {
		return nil, nil, problemf(http.StatusBadRequest, "Cannot trigger an event to several channels if one of them is encrypted")
	}
	payload, err = c.payload(e)
	if err == nil && e.SocketID != "" {
		except, err = parseSocketID(e.SocketID)
	}
	return payload, except, err
}

// payload is what is published of an event.
func (c *call) payload(e *event) ([]byte, error) {
	data := []byte(e.Data)
	if len(data) == 0 {
		return nil, problemf(http.StatusBadRequest, "Missing required parameter: data")
	}
	size := len(data)
	if data[0] == '"' {
		text, err := jsonx.Text(data)
		if err != nil {
			return nil, problemf(http.StatusBadRequest, "data %v", err)
		}
		size = len(text)
	} else {
		data = inText(data)
	}
	if size > c.app.EventMaxBytes {
		return nil, problemf(http.StatusRequestEntityTooLarge, "The data content of this event exceeds the allowed maximum (%d bytes)", c.app.EventMaxBytes)
	}
	payload := jsonx.AppendText([]byte(`{"event":`), e.Name)
	return append(append(append(payload, `,"data":`...), data...), '}'), nil
}

// parseSocketID returns the connection that has a socket ID.
func parseSocketID(text string) (*hub.Except, error) {
	first, second, _ := strings.Cut(text, ".")
	node, err := strconv.ParseUint(first, 10, 64)
	id, err2 := strconv.ParseUint(second, 10, 64)
	if err != nil || err2 != nil {
		return nil, problemf(http.StatusBadRequest, "Invalid socket id %.64q", text)
	}
	if node == 0 || node > 1<<32-1 {
		return nil, nil // none of ours
	}
	return &hub.Except{Clients: []netpoll.ID{netpoll.ID(id)}, Node: uint32(node)}, nil
}

// publish publishes in channels, and waits until the broker has all of it.
func (c *call) publish(channels []string, payload []byte, except *hub.Except) error {
	var results []func() error
	for _, name := range channels {
		var own *hub.Except
		if except != nil {
			e := *except
			own = &e
		}
		results = append(results, c.p.rules.Host.BeginExcept(c.ctx, c.p.hubName(c.app, name), frame.OpText, payload, own))
	}
	var failed error
	for _, result := range results {
		if err := result(); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// info is what the API says of a channel. Fields that were not asked for are left out.
type info struct {
	Occupied          *bool `json:"occupied,omitempty"`
	UserCount         *int  `json:"user_count,omitempty"`
	SubscriptionCount *int  `json:"subscription_count,omitempty"`
}

// events publishes one event.
func (c *call) events() (any, error) {
	var e event
	if err := c.read(&e); err != nil {
		return nil, err
	}
	payload, except, err := c.check(&e)
	if err == nil {
		err = c.publish(e.Channels, payload, except)
	}
	if err != nil || e.Info == "" {
		return struct{}{}, err
	}
	wanted, err := wantedInfo(e.Info, e.Channels...)
	if err != nil {
		return nil, err
	}
	infos := map[string]info{}
	for _, name := range e.Channels {
		if infos[name], err = c.info(name, wanted, false); err != nil {
			return nil, err
		}
	}
	return map[string]any{"channels": infos}, nil
}

// batchEvents publishes several.
func (c *call) batchEvents() (any, error) {
	var body struct {
		Batch []event `json:"batch"`
	}
	if err := c.read(&body); err != nil {
		return nil, err
	}
	if n := len(body.Batch); n == 0 || n > batchMax {
		return nil, problemf(http.StatusBadRequest, "The batch has %d events: want 1 to %d", n, batchMax)
	}
	payloads, excepts := make([][]byte, len(body.Batch)), make([]*hub.Except, len(body.Batch))
	for i := range body.Batch { // all or nothing
		var err error
		if payloads[i], excepts[i], err = c.check(&body.Batch[i]); err != nil {
			return nil, err
		}
	}
	infos, asked := make([]info, len(body.Batch)), false
	for i := range body.Batch {
		e := &body.Batch[i]
		if err := c.publish(e.Channels, payloads[i], excepts[i]); err != nil {
			return nil, err
		}
		if e.Info != "" && len(e.Channels) == 1 {
			wanted, err := wantedInfo(e.Info, e.Channels...)
			if err == nil {
				infos[i], err = c.info(e.Channels[0], wanted, false)
			}
			if asked = true; err != nil {
				return nil, err
			}
		}
	}
	if asked {
		return map[string][]info{"batch": infos}, nil
	}
	return struct{}{}, nil
}

// userEvents publishes one event to a user who has signed in.
func (c *call) userEvents() (any, error) {
	var e event
	if err := c.read(&e); err != nil {
		return nil, err
	}
	e.Channels = []string{userPrefix + c.path[1]}
	payload, except, err := c.check(&e)
	if err == nil {
		err = c.publish(e.Channels, payload, except)
	}
	return struct{}{}, err
}

// terminate ends the connections of a user.
func (c *call) terminate() (any, error) {
	user := c.path[1]
	if !validChannel(user) {
		return nil, problemf(http.StatusBadRequest, "Invalid user id %.170q", user)
	}
	return struct{}{}, c.p.disconnect(c.ctx, userName(c.app, user))
}

var errNoChannel = problemf(http.StatusBadRequest, "user_count is for presence channels only")
