//go:build !linux && !darwin && !freebsd

package netpoll

// DefaultKind is the engine that [Start] takes when none is named. This system
// has no engine.
const DefaultKind = Kind("none")

// Kinds are the engines of this system: none.
func Kinds() []Kind { return nil }

func startKind(kind Kind, _ Config, _ func(l Loop) Handler) (Engine, error) {
	return nil, errUnknownKind(kind)
}
