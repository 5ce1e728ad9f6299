package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/server/protocol"
)

// player is a page that has joined.
type player struct {
	t      *testing.T
	g      *game
	secret string
	bird   *bird
}

func join(t *testing.T, g *game, name string) (*player, error) {
	t.Helper()
	r := &protocol.CallRequest{User: name, Method: "game.join"}
	if err := g.join(t.Context(), r); err != nil {
		return nil, err
	}
	var reply struct{ Secret string }
	if err := json.Unmarshal(r.Reply, &reply); err != nil || g.players[reply.Secret] == nil {
		t.Fatalf("the reply is %s, %v", r.Reply, err)
	}
	return &player{t, g, reply.Secret, g.players[reply.Secret]}, nil
}

func mustJoin(t *testing.T, g *game, name string) *player {
	t.Helper()
	p, err := join(t, g, name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *player) steer(how string) error {
	return p.g.steer(p.t.Context(), &protocol.CallRequest{User: p.bird.Name, Method: "game.steer", Data: fmt.Appendf(nil, `{"secret":%q%s}`, p.secret, how)})
}

// wantCode fails unless err is an error of the protocol with the code.
func wantCode(t *testing.T, err error, code protocol.Code) {
	t.Helper()
	var refusal *protocol.Error
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("error %v, want code %d", err, code)
	}
}

// The hidden windows of one person make room for those who play.
func TestGameIsNotFilledByHiddenWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGame(nil)
		windows := make([]*player, gameBirdsMax)
		for i := range windows {
			windows[i] = mustJoin(t, g, "ann")
		}
		_, err := join(t, g, "ben")
		wantCode(t, err, protocol.CodeLimit)
		for _, i := range []int{3, 1} {
			if err := windows[i].steer(`,"rests":true`); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if err := windows[3].steer(`,"rests":true`); err != nil { // it says so again
			t.Fatal(err)
		}
		mustJoin(t, g, "ben")
		wantCode(t, windows[3].steer(`,"rests":true`), protocol.CodeNotAvailable)
		if err := windows[1].steer(`,"rests":true`); err != nil {
			t.Error(err)
		}
		mustJoin(t, g, "cat")
		_, err = join(t, g, "dan")
		wantCode(t, err, protocol.CodeLimit)
	})
}

func TestGameMovesBirds(t *testing.T) {
	g := newGame(nil)
	p := mustJoin(t, g, "ann")
	p.bird.X, p.bird.Y, g.meadow.Seeds = 500, 300, nil
	if err := p.steer(`,"x":30,"y":40`); err != nil { // longer than 1: no faster
		t.Fatal(err)
	}
	g.move(0.5)
	if dx, dy := p.bird.X-500, p.bird.Y-300; math.Abs(dx-0.6*gameSpeed/2) > 0.1 || math.Abs(dy-0.8*gameSpeed/2) > 0.1 {
		t.Errorf("the bird has moved by %g, %g", dx, dy)
	}
	g.move(60)
	if p.bird.X != gameWidth-gameRadius || p.bird.Y != gameHeight-gameRadius {
		t.Errorf("the bird is at %g, %g, want it at the edge", p.bird.X, p.bird.Y)
	}
	if err := p.steer(`,"x":-1,"rests":true`); err != nil {
		t.Fatal(err)
	}
	g.move(1)
	if p.bird.X != gameWidth-gameRadius {
		t.Error("a bird that rests has moved")
	}
	other := mustJoin(t, g, "ben")
	p.bird.Rests, p.bird.dx = false, 0
	for range 10 {
		other.bird.X, other.bird.Y = p.bird.X, p.bird.Y // in one place
		g.move(0)
	}
	if distance := math.Hypot(p.bird.X-other.bird.X, p.bird.Y-other.bird.Y); distance < gameRadius {
		t.Errorf("two birds are %g apart", distance)
	}
}

func TestGameCountsSeeds(t *testing.T) {
	g := newGame(nil)
	p, other := mustJoin(t, g, "ann"), mustJoin(t, g, "ben")
	p.bird.X, p.bird.Y, other.bird.X, other.bird.Y = 100, 100, 900, 500
	for range gameGoal - 6 {
		g.meadow.Seeds = []seed{{X: 110, Y: 100}, {X: 500, Y: 300}}
		g.move(0)
	}
	other.bird.Score = 7
	g.meadow.Seeds = []seed{{X: 100, Y: 110, Golden: true}}
	g.move(0)
	if p.bird.Score != gameGoal-1 || g.meadow.Round != 1 {
		t.Fatalf("%d points in round %d, want %d in 1", p.bird.Score, g.meadow.Round, gameGoal-1)
	}
	g.meadow.Seeds = []seed{{X: 100, Y: 110}}
	g.move(0)
	if g.meadow.Winner != "ann" || g.meadow.Round != 2 || p.bird.Score != 0 || other.bird.Score != 0 {
		t.Errorf("winner %q, round %d, points %d and %d", g.meadow.Winner, g.meadow.Round, p.bird.Score, other.bird.Score)
	}
	if len(g.meadow.Seeds) != 1 {
		t.Errorf("%d seeds, want a new one for the one that is gone", len(g.meadow.Seeds))
	}
}

// Strangers cannot fill the meadow for ever, nor steer what is not theirs.
func TestGameIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGame(nil)
		_, err := join(t, g, "")
		wantCode(t, err, protocol.CodePermissionDenied)
		first := mustJoin(t, g, "first")
		for i := 1; i < gameBirdsMax; i++ {
			mustJoin(t, g, fmt.Sprint("bird ", i))
		}
		_, err = join(t, g, "one more")
		wantCode(t, err, protocol.CodeLimit)
		time.Sleep(gameAway)
		if err := first.steer(""); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		mustJoin(t, g, "later")
		if len(g.players) != 2 || len(g.meadow.Birds) != 2 {
			t.Errorf("%d players, %d birds; want 2: the others have not been steered", len(g.players), len(g.meadow.Birds))
		}
		if err := first.steer(`,"leaves":true`); err != nil {
			t.Error(err)
		}
		g.leaveBehind(time.Now())
		wantCode(t, first.steer(""), protocol.CodeNotAvailable)
		first.secret = "guessed"
		wantCode(t, first.steer(""), protocol.CodeNotAvailable)
	})
}
