package protocol

import (
	"reflect"
	"testing"
)

func TestSelection(t *testing.T) {
	request := map[string]string{
		"Origin": "https://app.example", "User-Agent": "x/1", "Authorization": "Bearer secret",
		"Cookie": `theme=dark; sid=abc%3D; sid=second; quoted="q"`,
	}
	const query = "room=a%2Fb&room=c&empty=&bad=%zz&token=secret"
	for name, tc := range map[string]struct {
		selection Selection
		want      *UpgradeParts
	}{
		"nothing":         {Selection{}, nil},
		"what is missing": {Selection{Headers: []string{"X-Nothing"}, Cookies: []string{"none"}, Query: []string{"none"}}, nil},
		"headers": {Selection{Headers: []string{"Origin", "User-Agent", "X-Nothing"}},
			&UpgradeParts{Headers: map[string]string{"Origin": "https://app.example", "User-Agent": "x/1"}}},
		"cookies": {Selection{Cookies: []string{"sid", "quoted"}}, &UpgradeParts{Cookies: map[string]string{"sid": "abc%3D", "quoted": "q"}}},
		"query":   {Selection{Query: []string{"room", "empty", "bad"}}, &UpgradeParts{Query: map[string]string{"room": "a/b", "empty": ""}}},
	} {
		if got := tc.selection.Of(func(name string) string { return request[name] }, query); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}
