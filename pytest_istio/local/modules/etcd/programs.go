//go:build tools

// Package programs names what pytest-istio builds from this module.
package programs

import _ "go.etcd.io/etcd/server/v3"
