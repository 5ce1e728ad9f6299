package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// A target is the Redis that a URL names.
type target struct {
	// mode is "" for one server, "sentinel" or "cluster".
	mode string
	// addresses are those of the server, of the Sentinels, or of some servers of the cluster.
	addresses []string
	// client is how a connection is made to any of the servers, without InitAddress, and
	// sentinel to a Sentinel.
	client, sentinel rueidis.ClientOption
	// master is the name by which the Sentinels know the server.
	master string
	// trusted: a server that was started again has everything that it has acknowledged.
	trusted bool
}

// name tells the targets of one Broker apart. All nodes have to agree on it.
func (t *target) name() string {
	if t.mode == "sentinel" {
		return t.master
	}
	return t.addresses[0] + "/" + strconv.Itoa(t.client.SelectDB)
}

// urls is what a URL may be, for messages.
const urls = "redis://[user:password@]host:port[/database], redis+sentinel://host:port,host:port/NAME[/database], redis+cluster://host:port,host:port, each with rediss for TLS, or unix:///path"

// parseURL reads a URL. Errors do not hold it: it may hold a password.
func parseURL(text string, security *tls.Config) (*target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("redis: the URL is not one of " + urls)
	}
	if u.Scheme != "unix" && strings.Contains(u.Path, "@") || strings.Contains(u.RawQuery+u.Fragment, "@") {
		return nil, errors.New("redis: in a password / ? # @ are written %2F %3F %23 %40")
	}
	t := &target{}
	scheme, mode, _ := strings.Cut(u.Scheme, "+")
	t.mode = mode
	o := rueidis.ClientOption{
		ForceSingleClient: true, DisableRetry: true, DisableCache: true, AlwaysPipelining: true,
		ClientSetInfo: rueidis.DisableClientSetInfo, ClientName: "roost",
		Dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: time.Second}, ConnWriteTimeout: answerTimeout,
	}
	switch scheme {
	case "redis", "valkey":
	case "rediss", "valkeys":
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if security != nil {
			o.TLSConfig = security.Clone()
		}
	case "unix":
		if u.Path == "" {
			return nil, errors.New("redis: the URL is not one of " + urls)
		}
		o.DialCtxFn = func(ctx context.Context, _ string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", u.Path)
		}
	default:
		return nil, errors.New("redis: the URL is not one of " + urls)
	}
	if security != nil && o.TLSConfig == nil {
		return nil, errPlain
	}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	if scheme == "unix" {
		path = nil
		t.addresses = []string{u.Path}
	} else {
		for _, host := range strings.Split(u.Host, ",") {
			t.addresses = append(t.addresses, addressOf(host, mode))
		}
	}
	q := u.Query()
	for name, values := range q {
		value := values[len(values)-1]
		switch name {
		case "addr": // as rueidis has it
			for _, host := range values {
				t.addresses = append(t.addresses, addressOf(host, mode))
			}
		case "master_set":
			t.mode, t.master = "sentinel", value
		case "db":
			path = append(path, value)
		case "sentinel_user", "sentinel_password":
		case "ca":
			if o.TLSConfig == nil {
				return nil, errPlain
			}
			pem, err := os.ReadFile(value)
			if err != nil {
				return nil, fmt.Errorf("redis: ca: %w", err)
			}
			if o.TLSConfig.RootCAs = x509.NewCertPool(); !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("redis: %s holds no certificate", value)
			}
		case "cert":
			if o.TLSConfig == nil {
				return nil, errPlain
			}
			cert, key := value, q.Get("key")
			if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
				return nil, fmt.Errorf("redis: cert and key: %w", err)
			}
			o.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				pair, err := tls.LoadX509KeyPair(cert, key) // they may have been renewed
				return &pair, err
			}
		case "key":
			if !q.Has("cert") {
				return nil, errors.New("redis: key needs cert")
			}
		case "trust":
			if t.trusted, err = strconv.ParseBool(value); err != nil {
				return nil, errors.New("redis: trust is true or false")
			}
		default:
			return nil, fmt.Errorf("redis: the URL has no parameter %q; it has ca, cert, key, trust, db, sentinel_user and sentinel_password", name)
		}
	}
	path = slices.DeleteFunc(path, func(part string) bool { return part == "" })
	switch t.mode {
	case "":
		if len(t.addresses) > 1 {
			return nil, errors.New("redis: several addresses: redis+cluster:// is for a cluster, redis+sentinel:// for Sentinels; several servers side by side are several URLs, separated by spaces")
		}
	case "sentinel":
		t.sentinel = o
		t.sentinel.Username, t.sentinel.Password = q.Get("sentinel_user"), q.Get("sentinel_password")
		if t.master == "" && len(path) > 0 {
			t.master, path = path[0], path[1:]
		}
		if t.master == "" {
			return nil, errors.New("redis: the URL lacks the name by which the Sentinels know the server: redis+sentinel://host:port/NAME")
		}
	case "cluster":
		if t.trusted {
			return nil, errors.New("redis: trust is for one server: in a cluster replicas are promoted")
		}
		if len(path) > 0 {
			return nil, errors.New("redis: a cluster has no databases")
		}
	default:
		return nil, errors.New("redis: the URL is not one of " + urls)
	}
	if len(path) > 1 {
		return nil, errors.New("redis: the URL is not one of " + urls)
	}
	if len(path) == 1 {
		if o.SelectDB, err = strconv.Atoi(path[0]); err != nil || o.SelectDB < 0 {
			return nil, fmt.Errorf("redis: %q in the URL is not the number of a database", path[0])
		}
	}
	t.client = o
	return t, nil
}

var errPlain = errors.New("redis: there are settings for TLS, but the URL does not begin with rediss")

// addressOf completes a host of a URL.
func addressOf(host, mode string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if name == "" {
		name = "localhost"
	}
	if port == "" {
		port = "6379"
		if mode == "sentinel" {
			port = "26379"
		}
	}
	return net.JoinHostPort(name, port)
}
