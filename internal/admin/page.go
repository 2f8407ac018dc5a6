package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
)

// page is the whole status page: nothing else is loaded but the API's answers.
//
//go:embed page/page.html
var page []byte

// pagePolicy lets the browser run the page's own script and style, by their
// hashes, ask this daemon, and nothing else. Trusted types make it refuse a
// string as markup, should the script ever try.
func pagePolicy() string {
	return "default-src 'none'; script-src '" + between("<script>", "</script>") + "'; style-src '" + between("<style>", "</style>") +
		"'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
}

// between is the hash of what stands between two tags of the page, as a
// source of Content-Security-Policy.
func between(open, end string) string {
	_, rest, ok := bytes.Cut(page, []byte(open))
	body, _, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		panic("bug: the status page has no " + open)
	}
	sum := sha256.Sum256(body)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", s.policy)
	w.Write(page)
}
