//go:build darwin || freebsd

package netpoll

// DefaultKind is the engine that [Start] takes when none is named: here the one
// with the most users on kqueue.
const DefaultKind = Gnet

// Kinds are the engines of this system, the default first.
func Kinds() []Kind { return []Kind{Gnet, Easygo} }

func startKind(kind Kind, cfg Config, newHandler func(l Loop) Handler) (Engine, error) {
	switch kind {
	case Easygo:
		return startEasygo(cfg, newHandler)
	case Gnet:
		return startGnet(cfg, newHandler)
	}
	return nil, errUnknownKind(kind)
}
