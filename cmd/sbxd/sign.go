package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/publish"
	"github.com/sbx-project/sbx/internal/sign"
)

func keygenCommand() *cobra.Command {
	var path string
	var open bool
	var out output
	c := &cobra.Command{Use: "keygen [-o FILE]", Short: "Make a key pair to sign bundles with", Args: cobra.NoArgs,
		Long: `Make an Ed25519 key pair in the format of minisign.

FILE (sbx.key) gets the secret key, mode 0600, encrypted with a password that is
asked for; -W leaves it unencrypted, for a machine that signs by itself. The
public key goes beside it: sbx.pub. Nothing that exists is overwritten.

The public key belongs into a publishers file, which says who may publish what:
/etc/sbx/publishers.yaml for all registries, or .publishers.yaml in one.

  publishers:
    - {name: ops, keys: [RWQ...], commands: ["db.*"]}
  require_signature: true`,
		Example: "  sbx keygen -o ops.key\n  sbx sign ./db-backup --key ops.key",
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := sign.GenerateKey()
			if err != nil {
				return err
			}
			var password *string
			if !open {
				word, err := new(prompter).twice()
				if err != nil {
					return &statusError{125, fmt.Errorf("keygen: %w", err), "-W makes a key without a password"}
				}
				password = &word
			}
			secret, err := k.File(password)
			if err != nil {
				return err
			}
			err = sign.WriteKey(path, secret, k.Public())
			if errors.Is(err, fs.ErrExist) {
				return &statusError{125, err, "-o FILE names another; a key that was used is never overwritten"}
			}
			if err != nil {
				return err
			}
			if out.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{
					"id": k.Public().ID(), "public": k.Public().String(), "secret-file": path, "public-file": sign.PublicPath(path),
				})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "secret key: %s (keep it secret)\npublic key: %s\n%s\nnext: sbx sign PATH --key %s\n",
				path, sign.PublicPath(path), k.Public(), path)
			return err
		}}
	c.Flags().StringVarP(&path, "output", "o", "sbx.key", "write the secret key to FILE")
	c.Flags().BoolVarP(&open, "no-password", "W", false, "without a password")
	c.Flags().BoolVar(&out.json, "json", false, "print JSON")
	return c
}

func signCommand() *cobra.Command {
	var keyFile string
	var message, asJSON bool
	c := &cobra.Command{Use: "sign PATH --key FILE", Short: "Sign a bundle", Args: cobra.ExactArgs(1),
		Long: `Sign a bundle: a directory with a bundle.yaml, or a file NAME.yaml.

The signature covers the command's name and the digest of all that the bundle
has, so any later change makes it invalid. It is written beside the manifest:
bundle.sig in a directory, NAME.yaml.sig beside a file.

The key is one of "sbx keygen" or of minisign. --message prints what is signed,
for a key that is elsewhere:

  sbx sign PATH --message >m && minisign -S -s KEY -m m -x bundle.sig`,
		Example: "  sbx sign ./db-backup --key ops.key\n  sbx verify ./db-backup --key ops.pub",
		RunE: func(cmd *cobra.Command, args []string) error {
			if message {
				text, err := publish.Message(args[0])
				if err != nil {
					return refused(err)
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			if keyFile == "" {
				return &statusError{125, errors.New("sign: --key FILE is missing"), "sbx keygen makes a key"}
			}
			text, err := sign.ReadKeyFile(keyFile, true)
			if err != nil {
				return err
			}
			key, err := sign.ParseSecretKey(text, func() (string, error) { return new(prompter).ask("Password") })
			if err != nil {
				return &statusError{125, fmt.Errorf("%s: %w", keyFile, err), ""}
			}
			s, err := publish.Sign(args[0], key, time.Now())
			if err != nil {
				return refused(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "signed %s %s\n%s\nnext: sbx install %s\n", s.Name, s.Version, s.File, args[0])
			return err
		}}
	c.Flags().StringVar(&keyFile, "key", "", "the secret key")
	c.Flags().BoolVar(&message, "message", false, "print what is signed, and sign nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// verdict is what `sbx verify --json` prints, good or bad.
type verdict struct {
	Verdict int `json:"verdict"`
	*publish.Verified
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
}

func verifyCommand() *cobra.Command {
	var keyText, publishers, registryDir, name string
	var out output
	c := &cobra.Command{Use: "verify PATH [--key PUB | --publishers FILE]", Short: "Verify the signature of a bundle", Args: cobra.ExactArgs(1),
		Long: `Verify the signature of a bundle before any of it is parsed.

By --key, a public key or a file with one, whatever the command's name; by a
publishers file; or, with neither, by those that hold for the registry:
/etc/sbx/publishers.yaml and REGISTRY/.publishers.yaml.

Exit status 0: signed by somebody who may publish it, and not revoked. 126: not
(verdict 412). 125: there is nobody to verify by.`,
		Example: "  sbx verify ./db-backup --key ops.pub\n  sbx verify ./jq.yaml --publishers /etc/sbx/publishers.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			who, err := verifier(keyText, publishers, registryDir)
			if err != nil {
				return err
			}
			v, err := publish.Verify(args[0], name, who)
			if asJSON {
				return printVerdict(cmd, v, err)
			}
			if err != nil {
				return refused(err)
			}
			// The comment is somebody's text: quoted, it moves no terminal.
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s: good signature of key %s\n%s\ncomment: %s\n", v.Name, v.Version, v.Key, v.Digest, strconv.Quote(v.Comment))
			return err
		}}
	c.Flags().StringVar(&keyText, "key", "", "a public key, or a file with one")
	c.Flags().StringVar(&publishers, "publishers", "", "a publishers file")
	c.Flags().StringVar(&registryDir, "registry", "", "the registry whose publishers are asked")
	c.Flags().StringVar(&name, "name", "", "the command's name, where neither signature nor path say it")
	out.flags(c)
	return c
}

func printVerdict(cmd *cobra.Command, v publish.Verified, err error) error {
	r := verdict{Verdict: 200, Verified: &v}
	var bad *sign.UntrustedError
	if err != nil {
		r = verdict{Verdict: sign.Verdict, Error: err.Error()}
		if !errors.As(err, &bad) {
			return refused(err)
		}
		r.Reason = bad.Reason.String()
	}
	if err := printJSON(cmd.OutOrStdout(), r); err != nil || bad == nil {
		return err
	}
	return &statusError{126, nil, ""}
}

// verifier is whom --key, --publishers or the registry say to believe.
func verifier(key, publishers, registryDir string) (publish.Verifier, error) {
	switch {
	case key != "" && publishers != "":
		return nil, &statusError{125, errors.New("verify: --key and --publishers exclude each other"), ""}
	case key != "":
		text := []byte(key)
		if !strings.HasPrefix(key, "RW") || len(key) != 56 {
			var err error
			if text, err = sign.ReadKeyFile(key, false); err != nil {
				return nil, err
			}
		}
		k, err := sign.ParsePublicKey(text)
		if err != nil {
			return nil, &statusError{125, fmt.Errorf("--key %s: %w", key, err), "the public half: FILE.pub, or its second line"}
		}
		return publish.Key{PublicKey: k}, nil
	case publishers != "":
		trust, err := publish.Publishers(publishers)
		return trust, refusedUnless(err, fs.ErrNotExist)
	}
	dir, err := changedRegistry(registryDir, false)
	if err != nil {
		return nil, err
	}
	trust, _, err := sign.Load(dir)
	if err != nil {
		return nil, refused(err)
	}
	if !trust.Known() {
		return nil, &statusError{125, fmt.Errorf("verify: %w", publish.ErrNobody), "sbx verify PATH --key PUB"}
	}
	return trust, nil
}
