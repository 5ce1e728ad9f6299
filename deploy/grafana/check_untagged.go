//go:build !grafana

package main

import "errors"

func check(string) error { return errors.New("build it with -tags grafana") }
