package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"math"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// The game demo: birds gather seeds in a meadow. Clients say only where they steer; the
// server moves the birds, and publishes the whole meadow 15 times a second while
// the page is open somewhere.

const (
	gameChannel  = "game:meadow"
	gameInterval = time.Second / 15
	gameWidth    = 1000.0
	gameHeight   = 625.0
	gameSpeed    = 260.0 // units a second
	gameRadius   = 18.0  // of a bird
	gameSeeds    = 14
	gameGoal     = 25 // points that win a round
	gameBirdsMax = 24
	// gameAway is how long a bird stays without being steered.
	gameAway = 15 * time.Second
)

// A bird is one player.
type bird struct {
	ID    int     `json:"id"`
	Name  string  `json:"name"`
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
	Score int     `json:"score"`
	// Rests is a bird whose page is hidden: it stays where it is, and gathers nothing.
	Rests bool `json:"rests,omitempty"`

	dx, dy  float64 // where it steers, a vector of length 1 at most
	heard   time.Time
	resting time.Time // since when it rests
}

// A seed is worth a point, or five if it is golden.
type seed struct {
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	Golden bool    `json:"golden,omitempty"`
}

// meadow is the state of the game, as it is published.
type meadow struct {
	Birds  []*bird `json:"birds"`
	Seeds  []seed  `json:"seeds"`
	Winner string  `json:"winner,omitempty"` // of the round before
	Round  int     `json:"round"`
}

// game is the server's side.
type game struct {
	demo *Demo

	// Guarded by mu: the feed moves, and calls steer.
	mu      sync.Mutex
	meadow  meadow
	players map[string]*bird // by the secret of their page
	lastID  int
}

// game keeps little of what was published: a client that lags gets the newest picture.
func (d *Demo) game() part {
	g := newGame(d)
	pictures := &feed{channel: gameChannel, interval: gameInterval, step: g.step}
	return part{
		namespaces: []server.Namespace{{Name: "game", HistoryMessages: 30, HistoryAge: 10 * time.Second, SlowConsumer: server.SlowLatest}},
		event:      pictures.event,
		calls:      map[string]func(context.Context, *protocol.CallRequest) error{"game.join": g.join, "game.steer": g.steer},
	}
}

func newGame(d *Demo) *game {
	g := &game{demo: d, players: map[string]*bird{}, meadow: meadow{Birds: []*bird{}, Round: 1}}
	for range gameSeeds {
		g.meadow.Seeds = append(g.meadow.Seeds, newSeed())
	}
	return g
}

func newSeed() seed {
	within := func(size float64) float64 { return math.Round(gameRadius + mathrand.Float64()*(size-2*gameRadius)) }
	return seed{X: within(gameWidth), Y: within(gameHeight), Golden: mathrand.IntN(12) == 0}
}

// join lets a bird in, with the guest's name. The secret of the reply is what its page
// steers it with, over whatever connection.
func (g *game) join(_ context.Context, r *protocol.CallRequest) error {
	if r.User == "" {
		return &protocol.Error{Code: protocol.CodePermissionDenied, Message: "choose a name first"}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaveBehind(time.Now())
	if len(g.players) >= gameBirdsMax && !g.makeRoom() {
		return &protocol.Error{Code: protocol.CodeLimit, Message: "the meadow is full", RetryAfter: 5 * time.Second}
	}
	g.lastID++
	b := &bird{ID: g.lastID, Name: r.User, heard: time.Now()}
	place := newSeed()
	b.X, b.Y = place.X, place.Y
	secret := rand.Text()
	g.players[secret] = b
	g.meadow.Birds = append(g.meadow.Birds, b)
	r.Reply = encode(map[string]any{"id": b.ID, "secret": secret, "width": gameWidth, "height": gameHeight, "radius": gameRadius, "goal": gameGoal})
	return nil
}

// makeRoom takes out the bird that has rested longest, and reports whether there was one:
// the hidden windows of one person must not keep others out.
func (g *game) makeRoom() bool {
	longest := ""
	for secret, b := range g.players {
		if b.Rests && (longest == "" || b.resting.Before(g.players[longest].resting)) {
			longest = secret
		}
	}
	delete(g.players, longest)
	return longest != ""
}

// steer sets where a bird goes. A page says so again every few seconds.
func (g *game) steer(_ context.Context, r *protocol.CallRequest) error {
	var to struct {
		Secret string
		X, Y   float64
		Rests  bool
		Leaves bool
	}
	if json.Unmarshal(r.Data, &to) != nil {
		return badRequest("game.steer wants a secret, x and y")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.players[to.Secret]
	if b == nil {
		return &protocol.Error{Code: protocol.CodeNotAvailable, Message: "this bird is gone: join again"}
	}
	if length := math.Hypot(to.X, to.Y); length > 1 {
		to.X, to.Y = to.X/length, to.Y/length
	}
	now := time.Now()
	if to.Rests && !b.Rests {
		b.resting = now
	}
	b.dx, b.dy, b.Rests, b.heard = to.X, to.Y, to.Rests, now
	if to.Leaves {
		b.heard = time.Time{}
	}
	return nil
}

// leaveBehind takes birds out that were not steered for a while.
func (g *game) leaveBehind(now time.Time) {
	g.meadow.Birds = g.meadow.Birds[:0]
	for secret, b := range g.players {
		if now.Sub(b.heard) > gameAway {
			delete(g.players, secret)
		} else {
			g.meadow.Birds = append(g.meadow.Birds, b)
		}
	}
}

// step moves everything by one interval, and publishes it.
func (g *game) step(now time.Time) error {
	g.mu.Lock()
	g.leaveBehind(now)
	g.move(gameInterval.Seconds())
	picture := json.RawMessage(encode(g.meadow))
	g.mu.Unlock()
	return g.demo.publish(gameChannel, "meadow", picture)
}

func (g *game) move(seconds float64) {
	birds := g.meadow.Birds
	for _, b := range birds {
		if !b.Rests {
			b.X += b.dx * gameSpeed * seconds
			b.Y += b.dy * gameSpeed * seconds
		}
	}
	for i, b := range birds {
		for _, other := range birds[i+1:] {
			bump(b, other)
		}
	}
	for _, b := range birds {
		b.X = math.Round(min(max(b.X, gameRadius), gameWidth-gameRadius)*10) / 10
		b.Y = math.Round(min(max(b.Y, gameRadius), gameHeight-gameRadius)*10) / 10
		if !b.Rests {
			g.gather(b)
		}
	}
}

// bump keeps two birds from being in one place: each gives way by half.
func bump(a, b *bird) {
	dx, dy := b.X-a.X, b.Y-a.Y
	distance := math.Hypot(dx, dy)
	if distance == 0 {
		dx, distance = 1, 1
	}
	if overlap := 2*gameRadius - distance; overlap > 0 && !a.Rests && !b.Rests {
		dx, dy = dx/distance*overlap/2, dy/distance*overlap/2
		a.X, a.Y, b.X, b.Y = a.X-dx, a.Y-dy, b.X+dx, b.Y+dy
	}
}

// gather gives a bird the seeds that it reaches. The first bird with enough points wins the round.
func (g *game) gather(b *bird) {
	for i, s := range g.meadow.Seeds {
		if math.Hypot(s.X-b.X, s.Y-b.Y) > gameRadius+8 {
			continue
		}
		b.Score++
		if s.Golden {
			b.Score += 4
		}
		g.meadow.Seeds[i] = newSeed()
	}
	if b.Score >= gameGoal {
		g.meadow.Winner = b.Name
		g.meadow.Round++
		for _, other := range g.meadow.Birds {
			other.Score = 0
		}
	}
}
