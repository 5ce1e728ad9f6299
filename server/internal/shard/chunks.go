package shard

// chunkRows is how many rows are allocated at once. A chunk never moves: growing
// an array by append would copy it again and again, and leave behind, as garbage
// that counts as resident memory, up to four times what it holds.
const chunkRows = 1024

// chunks is a growing array of pointer-free rows.
type chunks[T any] struct {
	list [][]T
	n    uint32
}

// at is row i, which must be less than n. It stays where it is.
func (c *chunks[T]) at(i uint32) *T { return &c.list[i/chunkRows][i%chunkRows] }

// push adds a row at the end.
func (c *chunks[T]) push(row T) {
	if k := c.n / chunkRows; int(k) < len(c.list) && int(c.n%chunkRows) < len(c.list[k]) {
		c.list[k][c.n%chunkRows] = row
	} else if k == 0 {
		// The first chunk grows from small: most channels have few subscribers.
		if c.list == nil {
			c.list = make([][]T, 1)
		}
		c.list[0] = append(c.list[0], row)
		c.list[0] = c.list[0][:min(cap(c.list[0]), chunkRows)]
	} else {
		chunk := make([]T, chunkRows)
		chunk[0] = row
		c.list = append(c.list, chunk)
	}
	c.n++
}

// pop takes the last row away, and gives memory back when much of it is unused.
func (c *chunks[T]) pop() {
	c.n--
	if needed := int(c.n/chunkRows) + 1; len(c.list) > needed+1 {
		c.list[len(c.list)-1] = nil
		c.list = c.list[:len(c.list)-1]
	}
	if c.n == 0 {
		c.list = nil
	}
}
