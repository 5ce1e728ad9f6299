package engineio

import "github.com/roostws/roost/netpoll"

// table is the clients of a loop by the rows of their connections, in pages: 8 bytes for
// each, where a map takes some 30.
type table struct{ pages []*page }

const pageRows = 256

type page struct {
	rows [pageRows]*Conn
	n    int // rows in use
}

// get returns the client of a connection, nil for none.
func (t *table) get(id netpoll.ID) *Conn {
	if p := t.page(id); p != nil {
		if c := p.rows[id.Slot()%pageRows]; c != nil && c.id == id {
			return c
		}
	}
	return nil
}

func (t *table) page(id netpoll.ID) *page {
	if i := int(id.Slot() / pageRows); i < len(t.pages) {
		return t.pages[i]
	}
	return nil
}

// put enters the client of a connection that has none.
func (t *table) put(id netpoll.ID, c *Conn) {
	i := int(id.Slot() / pageRows)
	if i >= len(t.pages) {
		t.pages = append(t.pages, make([]*page, i+1-len(t.pages))...)
	}
	if t.pages[i] == nil {
		t.pages[i] = &page{}
	}
	t.pages[i].rows[id.Slot()%pageRows] = c
	t.pages[i].n++
}

// remove takes out the client of a connection that has one.
func (t *table) remove(id netpoll.ID) {
	p := t.page(id)
	p.rows[id.Slot()%pageRows] = nil
	if p.n--; p.n == 0 {
		t.pages[id.Slot()/pageRows] = nil
	}
}

// each calls f for each client. f may take clients out.
func (t *table) each(f func(c *Conn)) {
	for _, p := range t.pages {
		if p == nil {
			continue
		}
		for _, c := range p.rows {
			if c != nil {
				f(c)
			}
		}
	}
}
