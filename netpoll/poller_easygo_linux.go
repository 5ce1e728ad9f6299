package netpoll

func startEasygo(cfg Config, newHandler func(l Loop) Handler) (Engine, error) {
	return nil, errUnknownKind(Easygo)
}
