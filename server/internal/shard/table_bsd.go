//go:build unix && !linux

package shard

// noReserve is for systems that account for promised memory; these do not.
const noReserve = 0
