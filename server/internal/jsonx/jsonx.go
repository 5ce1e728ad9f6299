// Package jsonx is what reading and writing JSON needs beyond encoding/json: going
// through values in place, member by member; whole numbers however they are
// written; and appending without allocating.
//
//	read.go     Walker, Text, Depth
//	number.go   Integer, Int
//	write.go    AppendText, AppendData
package jsonx
