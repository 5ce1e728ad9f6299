package shard

// A fifo is a queue. The gap that taking leaves is closed now and then, so that
// thousands of entries are not moved up thousands of times. The zero value is empty.
type fifo[T any] struct {
	list  []T
	taken int // leading rows of list that are empty already
}

func (q *fifo[T]) len() int { return len(q.list) - q.taken }

func (q *fifo[T]) push(v T) { q.list = append(q.list, v) }

// at returns the entry at place i, which must be less than len.
func (q *fifo[T]) at(i int) T { return q.list[q.taken+i] }

// take takes the first entry out. There must be one.
func (q *fifo[T]) take() T {
	var none T
	v := q.list[q.taken]
	q.list[q.taken] = none
	q.taken++
	if 2*q.taken >= len(q.list) {
		n := copy(q.list, q.list[q.taken:])
		clear(q.list[n:])
		q.list, q.taken = q.list[:n], 0
	}
	return v
}
