package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxPassword is what the minisign program reads (base64.h and minisign.h:
// PASSWORDMAXBYTES).
const maxPassword = 1024

// prompter asks for passwords: on the terminal without echo, or, when standard
// input is none, one on each line of it, as the minisign program does.
type prompter struct{ in *bufio.Reader }

var errNoPassword = errors.New("no password on standard input, which is not a terminal")

// ask prints what on stderr and reads one line.
func (p *prompter) ask(what string) (string, error) {
	var word string
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		if _, err := os.Stderr.WriteString(what + ": "); err != nil {
			return "", err
		}
		b, err := term.ReadPassword(fd)
		os.Stderr.WriteString("\n")
		if err != nil {
			return "", err
		}
		word = string(b)
	} else {
		if p.in == nil {
			p.in = bufio.NewReaderSize(io.LimitReader(os.Stdin, 4*maxPassword), maxPassword)
		}
		line, err := p.in.ReadString('\n')
		if err != nil && (err != io.EOF || line == "") {
			return "", errNoPassword
		}
		word = strings.TrimSuffix(line, "\n")
	}
	if len(word) >= maxPassword {
		return "", errors.New("the password is longer than minisign takes")
	}
	return word, nil
}

// twice asks for a new password.
func (p *prompter) twice() (string, error) {
	first, err := p.ask("Password")
	if err != nil {
		return "", err
	}
	second, err := p.ask("Password (one more time)")
	if err == nil && first != second {
		err = errors.New("the two passwords differ")
	}
	return first, err
}
