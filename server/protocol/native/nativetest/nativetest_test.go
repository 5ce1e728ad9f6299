package nativetest

import "testing"

func TestMatch(t *testing.T) {
	v := Values{}
	for _, test := range []struct {
		want, got string
		ok        bool
	}{
		{`{"a":"$x","b":$n}`, `{"a":"one \" two","b":17}`, true},
		{`{"b":$n}`, `{"b":18}`, false},
		{`{"b":$n}`, `{"b":17}`, true},
		{`{"a":"$x"}`, `{"a":"one"}`, false},
		{`{"a":"$any","b":"$any"}`, `{"a":"1","b":"2"}`, true},
		{`{"a":"$y"}`, `{"a":"1","b":"2"}`, false},
		{`{"a":"$y"}`, `{"a":1}`, false},
		{`(.*)`, `x`, false},
	} {
		if ok := v.Match(test.want, test.got); ok != test.ok {
			t.Errorf("%s matches %s: %v, want %v", test.want, test.got, ok, test.ok)
		}
	}
	if got, err := v.Fill(`{"b":$n,"c":"$n"}`); got != `{"b":17,"c":"17"}` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := v.Fill(`"$new"`); err == nil {
		t.Error("an unknown placeholder was filled")
	}
	if got := Example(`{"b":$n,"c":"$n"}`); got != `{"b":1,"c":"$n"}` {
		t.Errorf("got %s", got)
	}
}

func TestParse(t *testing.T) {
	for _, line := range []string{"A", "A shouts", "A closed never reason"} {
		if _, err := parse(line); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
	if l, err := parse("A closed 4401 token expired: x"); err != nil || l.Code != 4401 || l.Text != "token expired: x" || l.Client != "A" {
		t.Errorf("got %+v, %v", l, err)
	}
	if l, err := parse(`@ publish {"a":1}`); err != nil || l.Action != "publish" || l.Text != `{"a":1}` {
		t.Errorf("got %+v, %v", l, err)
	}
}
