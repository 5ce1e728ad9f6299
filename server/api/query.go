package api

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// query reads the parameters of a request, and refuses unknown ones: a misspelt limit that
// is silently ignored is no limit.
type query struct {
	values url.Values
	err    error
}

// params returns the parameters of a request, which may have these names.
func params(r *http.Request, names ...string) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.err = problem(http.StatusBadRequest, CodeBadValue, "The query is malformed: %v.", err)
		return q
	}
	var unknown []string
	for name, list := range values {
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
		} else if len(list) > 1 {
			q.fail(problem(http.StatusBadRequest, CodeBadValue, "The parameter %q stands there twice. Send it once.", name).about(name))
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		takes := "this takes none"
		if len(names) > 0 {
			takes = "this takes " + quoteAll(names)
		}
		q.err = problem(http.StatusBadRequest, CodeUnknownMember, "There is no parameter %s here: %s. Check the spelling.", quoteAll(unknown), takes).about(unknown...)
	}
	return q
}

func (q *query) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

func (q *query) text(name string) string { return q.values.Get(name) }

func (q *query) has(name string) bool { return q.values.Has(name) }

// number returns a number in a range, without if it is missing.
func (q *query) number(name string, low, high, without uint64) uint64 {
	if !q.has(name) {
		return without
	}
	n, err := strconv.ParseUint(q.text(name), 10, 64)
	if err != nil || n < low || n > high {
		q.fail(badValue(name, fmt.Sprintf("a number, %d to %d", low, high)))
	}
	return n
}

// limit returns the number of entries that a list may have. As over the native protocol,
// more than ListMax counts as ListMax.
func (q *query) limit(low uint64) int {
	return int(min(q.number("limit", low, math.MaxInt32, ListDefault), ListMax))
}

func (q *query) flag(name string) bool {
	switch q.text(name) {
	case "true":
		return true
	case "false":
		return false
	}
	if q.has(name) {
		q.fail(badValue(name, "true or false"))
	}
	return false
}
