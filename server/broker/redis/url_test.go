package redis

import (
	"strings"
	"testing"
)

// What is wrong with a URL is said, without the password.
func TestURL(t *testing.T) {
	for _, url := range []string{
		"redis://h", "redis://:secret%40%2F@h/1", "redis://a/1 redis://b/1", "redis://a redis://b/0", "unix:///run/a@b", "redis+sentinel://a,b/NAME/2", "valkey://h?db=3",
	} {
		if _, err := New(Options{URL: url}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, want := range map[string]string{
		"":                          "is not one of",
		"unix://path":               "is not one of",
		"redis://:12/secret@h":      "%2F",
		"redis://:12?secret@h":      "%3F",
		"redis://:12#secret@h":      "%23",
		"redis://a/1 redis://b/2":   "the same database",
		"redis://a/1 redis://b":     "the same database",
		"redis://a redis://b/2":     "the same database",
		"redis://a redis://a":       "twice",
		"rediss://:secret@h?key=k":  "key needs cert",
		"redis://:secret@h?other=1": "no parameter",
	} {
		switch _, err := New(Options{URL: url}); {
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want one with %q", url, err, want)
		case strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), ":secret"):
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
}
