// Package policies holds the shipped data: stock policies that a policy may
// extend, and the bundles of the built-in registry. It is data only; package
// policy and package registry give it its meaning.
package policies

import "embed"

// FS holds stock/NAME.yaml, one policy mapping each, and
// commands/NAME.yaml, one bundle manifest each.
//
//go:embed stock/*.yaml commands/*.yaml
var FS embed.FS
