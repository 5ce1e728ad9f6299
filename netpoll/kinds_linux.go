package netpoll

// DefaultKind is the engine that [Start] takes when none is named.
const DefaultKind = Epoll

// Kinds are the engines of this system, the default first.
func Kinds() []Kind { return []Kind{Epoll, Easygo, Gnet} }

func startKind(kind Kind, cfg Config, newHandler func(l Loop) Handler) (Engine, error) {
	switch kind {
	case Epoll:
		return startEpoll(cfg, newHandler)
	case Easygo:
		return startEasygo(cfg, newHandler)
	case Gnet:
		return startGnet(cfg, newHandler)
	}
	return nil, errUnknownKind(kind)
}
