// Package operate tests what an operator installs beside sbx, dist/, against
// the built program: units by systemd-analyze, alert rules and metrics by
// promtool, and a scrape by Prometheus itself.
package operate
