package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// certificate writes a key pair for 127.0.0.1 that signs itself.
func (h *host) certificate(t *testing.T) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	check(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	parsed, err := x509.ParseCertificate(der)
	check(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	cert = h.write(t, "home/cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
	key = h.write(t, "home/key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), 0o600)
	return cert, key, roots
}

// freeAddress is an address of this host that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestTCPWithTLS: the admin API over TCP is TLS 1.3 and nothing else, and
// tells only who has the token more than health and metrics.
func TestTCPWithTLS(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.bundle(t, "act", bin+"/act", "")
		cert, key, roots := h.certificate(t)
		const token = "0123456789abcdef0123456789abcdef"
		address := freeAddress(t)
		h.serve(t, "--web.listen", address, "--web.tls-cert", cert, "--web.tls-key", key, "--web.token-file", h.write(t, "home/token", token+"\n", 0o600))
		ask := func(scheme, path, bearer string, c *tls.Config) (status int, body string, err error) {
			client := http.Client{Timeout: patience(), Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
			req, err := http.NewRequest("GET", scheme+"://"+address+path, nil)
			check(t, err)
			if bearer != "" {
				req.Header.Set("Authorization", "Bearer "+bearer)
			}
			resp, err := client.Do(req)
			if err != nil {
				return 0, "", err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			return resp.StatusCode, string(b), err
		}
		good := &tls.Config{RootCAs: roots}
		for end := time.Now().Add(patience()); ; time.Sleep(5 * time.Millisecond) {
			status, _, err := ask("https", "/-/ready", "", good)
			if status == 200 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("not ready: %d, %v", status, err)
			}
		}
		for _, tt := range []struct {
			path, bearer string
			want         int
		}{
			{"/metrics", "", 200}, {"/-/healthy", "", 200}, {"/v1/status", "", 401}, {"/v1/status", token[1:], 401}, {"/v1/status", token, 200}, {"/v1/runs", token, 200},
		} {
			if status, body, err := ask("https", tt.path, tt.bearer, good); status != tt.want {
				t.Errorf("%s with token %q: %d, %v, want %d: %.200s", tt.path, tt.bearer, status, err, tt.want, body)
			}
		}
		if status, _, err := ask("https", "/-/healthy", "", &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}); err == nil {
			t.Errorf("TLS 1.2 is answered with %d", status)
		}
		if status, _, err := ask("https", "/-/healthy", "", &tls.Config{RootCAs: x509.NewCertPool()}); err == nil {
			t.Errorf("a certificate that nobody vouches for is believed: %d", status)
		}
		if status, body, err := ask("http", "/metrics", "", nil); err == nil && status == 200 {
			t.Errorf("without TLS: %d %.100s", status, body)
		}
	})
}
