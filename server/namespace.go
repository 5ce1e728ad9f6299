package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/settings"
)

// A Namespace holds the settings of the channels whose names begin with
// "NAME:". A channel without a colon is in the namespace "". A name whose
// namespace is not configured has the settings of Namespace{}: no history,
// every client may subscribe, only the application publishes; over the native
// protocol such a channel does not exist (protocol.CodeUnknownNamespace), but for "".
type Namespace struct {
	// Name is what stands before the colon.
	Name string
	// HistoryMessages is how many messages of a channel are kept, encoded, for
	// clients that come back or lag behind. If zero, none: a client that was away
	// starts with what is published next.
	HistoryMessages int
	// HistoryAge is how long they are kept at most. If zero, 5 minutes.
	HistoryAge time.Duration
	// SlowConsumer is what happens to a client that lags by more than the
	// history: SlowDisconnect, SlowSkip or SlowLatest. If empty, SlowDisconnect.
	// Without history Limits.SlowConsumer decides.
	SlowConsumer SlowPolicy
	// Subscribe is the rule for clients that want to subscribe over a protocol. If
	// empty, protocol.AccessAnyone.
	Subscribe protocol.Access
	// Publish is the rule for clients that want to publish over a protocol. If
	// empty, protocol.AccessNobody.
	Publish protocol.Access
	// Presence lets subscribers ask who else is there.
	Presence bool
	// JoinLeave tells subscribers who comes and goes, in channels of up to
	// JoinLeaveMax subscribers.
	JoinLeave bool
	// JoinLeaveMax is that bound, for one loop's part of a channel. If zero, 1,000.
	JoinLeaveMax int
	// Outage is what happens to publications while Config.Broker is away: OutageRefuse or
	// OutageLocal. If empty, OutageRefuse.
	Outage OutagePolicy
}

// An OutagePolicy is what happens to publications while the broker is away.
type OutagePolicy string

const (
	// OutageRefuse refuses them.
	OutageRefuse OutagePolicy = "refuse"
	// OutageLocal, for channels without history, delivers them to the connections of the
	// server that has them. Those of others never get them.
	OutageLocal OutagePolicy = "local"
)

// policy is what the shards call it.
func (p SlowPolicy) policy() hub.Policy {
	switch p {
	case SlowSkip:
		return hub.PolicySkip
	case SlowLatest:
		return hub.PolicyLatest
	}
	return hub.PolicyDisconnect
}

// withDefaults returns n with every zero field replaced.
func (n Namespace) withDefaults() Namespace {
	namespaceSettings.Fill(&n)
	return n
}

// validate returns a *settings.FieldError for each contradiction of a Namespace
// with defaults.
func (n *Namespace) validate() []error {
	errs := namespaceSettings.Check(namespaceName, n)
	for _, err := range errs {
		err.(*settings.FieldError).Item = n.Name
	}
	if strings.Contains(n.Name, ":") || len(n.Name) > 255 || !utf8.ValidString(n.Name) {
		errs = append(errs, n.fieldError("Name", n.Name, "at most 255 bytes of UTF-8 without a colon"))
	}
	if n.SlowConsumer != SlowDisconnect && n.HistoryMessages == 0 && len(errs) == 0 {
		errs = append(errs, n.fieldError("SlowConsumer", n.SlowConsumer, "a history with it: for channels without history there is one setting for all"))
	}
	if n.Outage == OutageLocal && n.HistoryMessages > 0 {
		errs = append(errs, n.fieldError("Outage", n.Outage, "no history with it: without the broker a message has no place there"))
	}
	return errs
}

func (n *Namespace) fieldError(field string, value any, want string) error {
	return &settings.FieldError{Config: namespaceName, Item: n.Name, Field: field, Value: value, Want: want}
}

// CheckNamespace returns an error of code 104 if clients of a protocol cannot be in a
// channel because its namespace is not configured: most likely the name is misspelt.
// Methods of Server and Conn do not check that, since connections without a protocol
// may be in any channel. Without Config.Application and Config.Namespaces there is
// nothing to misspell.
func (s *Server) CheckNamespace(channel string) error {
	name := protocol.NamespaceOf(channel)
	if name == "" || name+":" == protocol.UserPrefix || s.cfg.Application == nil && len(s.cfg.Namespaces) == 0 {
		return nil
	}
	if slices.ContainsFunc(s.cfg.Namespaces, func(ns Namespace) bool { return ns.Name == name }) {
		return nil
	}
	var names []string
	for _, ns := range s.cfg.Namespaces {
		names = append(names, strconv.Quote(ns.Name))
	}
	exist := "none is configured"
	if len(names) > 0 {
		exist = "there are " + strings.Join(names, ", ")
	}
	return &protocol.Error{Code: protocol.CodeUnknownNamespace, Message: fmt.Sprintf("there is no namespace %.80q (%s)", name, exist)}
}
