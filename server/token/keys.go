package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// The algorithms (RFC 7518, section 3.1; RFC 8037, section 3.1).
const (
	hs256 = "HS256"
	hs384 = "HS384"
	hs512 = "HS512"
	rs256 = "RS256"
	rs384 = "RS384"
	rs512 = "RS512"
	ps256 = "PS256"
	es256 = "ES256"
	es384 = "ES384"
	eddsa = "EdDSA"
)

// known are all algorithms, the preferred one of each type of key first.
var known = []string{hs256, hs384, hs512, rs256, rs384, rs512, ps256, es256, es384, eddsa}

// The algorithms for each type of key. Sets of different types have nothing in
// common: a public key is never a secret.
var (
	forRSA     = []string{rs256, rs384, rs512, ps256}
	forP256    = []string{es256}
	forP384    = []string{es384}
	forEd25519 = []string{eddsa}
)

// rsaMinBits is the least that RFC 7518, section 3.3, allows.
const rsaMinBits = 2048

// A key checks tokens of the algorithms of its type.
type key struct {
	algorithms []string
	kid        string // of a key set's
	key        any    // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// newSecret returns a secret with the algorithms for which it is long enough: it
// should not be shorter than the hash (RFC 7518, section 3.2).
func newSecret(secret []byte, short bool) key {
	k := key{algorithms: []string{hs256}, key: secret}
	if len(secret) >= 48 || short {
		k.algorithms = append(k.algorithms, hs384)
	}
	if len(secret) >= 64 || short {
		k.algorithms = append(k.algorithms, hs512)
	}
	return k
}

// newKey binds a public key to the algorithms that it may be used for.
func newKey(public any) (key, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < rsaMinBits {
			return key{}, fmt.Errorf("an RSA key of %d bits: want %d or more", k.N.BitLen(), rsaMinBits)
		}
		return key{algorithms: forRSA, key: k}, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return key{algorithms: forP256, key: k}, nil
		case elliptic.P384():
			return key{algorithms: forP384, key: k}, nil
		}
		return key{}, fmt.Errorf("an ECDSA key on %s: want P-256 (ES256) or P-384 (ES384)", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return key{algorithms: forEd25519, key: k}, nil
	}
	return key{}, fmt.Errorf("a key of type %T: want RSA, ECDSA or Ed25519", public)
}

// checkSecret refuses secrets that can be guessed, and public keys.
func checkSecret(secret []byte, short bool) error {
	switch {
	case len(secret) == 0:
		return errors.New("an empty secret")
	case bytes.Contains(secret, []byte("-----BEGIN ")):
		return errors.New("a key in PEM, which is not a secret for HS256: a public key belongs in Keys")
	case len(secret) < SecretMinBytes && !short:
		return fmt.Errorf("a secret of %d bytes, which can be guessed: want %d or more", len(secret), SecretMinBytes)
	}
	return nil
}

// publicKeys reads all that a text in PEM holds.
func publicKeys(text []byte) (keys []key, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		public, err := publicKey(block)
		if err != nil {
			return nil, err
		}
		k, err := newKey(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in PEM: want a text that begins with -----BEGIN PUBLIC KEY-----")
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, fmt.Errorf("after %d good keys in PEM comes what is none", len(keys))
	}
	return keys, nil
}

func publicKey(block *pem.Block) (public any, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = cert.PublicKey
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("a private key, which belongs to the program that makes tokens: want the public one (openssl pkey -in private.pem -pubout)")
	default:
		return nil, fmt.Errorf("a %q in PEM: want a PUBLIC KEY or a CERTIFICATE", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("a %s that cannot be read: %w", block.Type, err)
	}
	return public, nil
}

// ParsePrivateKey reads the first private key in PEM (PKCS 8, PKCS 1 or SEC 1,
// without a passphrase), as Sign takes it.
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errors.New("token: no private key in PEM: want a text that begins with -----BEGIN PRIVATE KEY-----")
		}
		var private any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			private, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("token: the private key has a passphrase: take it off (openssl pkey -in private.pem -out plain.pem)")
		default: // "EC PARAMETERS", say
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("token: a %s that cannot be read: %w", block.Type, err)
		}
		signer, ok := private.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("token: a key of type %T cannot sign", private)
		}
		if _, err := newKey(signer.Public()); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		return signer, nil
	}
}
