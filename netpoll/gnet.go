package netpoll

func startGnet(cfg Config, newHandler func(l Loop) Handler) (Engine, error) {
	return nil, errUnknownKind(Gnet)
}
