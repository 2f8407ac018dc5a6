package params

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
)

// TestSecrets: a secret is read from its descriptor, and no error repeats what
// was given or read.
func TestSecrets(t *testing.T) {
	list := []plan.Param{
		{Name: "token", Type: plan.ParamString, Secret: true, Max: 12, Chars: "s-cret", Set: set("secret-")},
		{Name: "other", Type: plan.ParamString, Max: 99},
		{Name: "keys", Type: plan.ParamString, Secret: true, List: true, Max: 99},
	}
	held := map[int]string{0: "secret\n", 3: "secret", 4: "secret\n\n", 5: "SECRET", 6: "", 7: "secretsecrets", 9: "SECRET\x00"}
	read := func(fd, limit int) (string, error) {
		text, ok := held[fd]
		if !ok {
			return "", errors.New("not open")
		}
		if len(text) > limit {
			return "", errors.New("too long")
		}
		return text, nil
	}
	for _, tt := range []struct{ args, token, err string }{
		{"--token @3", "secret", ""},
		{"--token=@0 --other @3", "secret", ""}, // another parameter's @ is a text
		{"--token @6", "", ""},
		{"--token secret", "", "--token is secret: give @FD"},
		{"--token @secret", "", "--token is secret: give @FD"},
		{"--token @1", "", "--token is secret: give @FD"},
		{"--token @03", "", "--token is secret: give @FD"},
		{"--token @99999999999999999999", "", "--token is secret: give @FD"},
		{"--token @8", "", "--token @8: not open"},
		{"--token @4", "", "--token: has a byte that is not one of"},
		{"--token @5", "", "--token: has a byte that is not one of"},
		{"--token @7", "", "--token: is longer than 12 bytes"},
		{"--token @9", "", "--token: has a NUL byte"},
	} {
		values, err := Parse(list, strings.Fields(tt.args))
		if err == nil {
			err = Secrets(list, values, read)
		}
		switch {
		case tt.err != "":
			if err == nil || !strings.HasPrefix(err.Error(), tt.err) || strings.Contains(strings.ToLower(err.Error()), "secretsecret") || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: %v, want %s", tt.args, err, tt.err)
			}
		case err != nil || values[0].Items[0] != tt.token:
			t.Errorf("%s: %v, %v; want %q", tt.args, values, err, tt.token)
		}
	}
	values, err := Parse(list, []string{"--keys", "@3", "--keys", "@5", "--other", "@3"})
	if err == nil {
		err = Secrets(list, values, read)
	}
	if err != nil || strings.Join(values[2].Items, " ") != "secret SECRET" || values[1].Items[0] != "@3" {
		t.Errorf("a list: %v, %v", values, err)
	}
}

// TestDescriptors: each descriptor is named once, with room for the longest
// value that is read from it.
func TestDescriptors(t *testing.T) {
	list := []plan.Param{
		{Name: "token", Type: plan.ParamString, Secret: true, Max: 12},
		{Name: "other", Type: plan.ParamString, Max: 99},
		{Name: "keys", Type: plan.ParamString, Secret: true, List: true, Max: 99},
		{Name: "long", Type: plan.ParamString, Secret: true, Max: 1 << 40},
	}
	values, err := Parse(list, strings.Fields("--keys @0 --keys @3 --other @5 --token @3 --long @9 --keys @0"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Descriptor{{3, 100}, {0, 100}, {9, maxArg + 1}}
	if d := cmp.Diff(want, Descriptors(list, values)); d != "" {
		t.Errorf("(-want +got) %s", d)
	}
	if got := Descriptors(list, make([]Value, len(list))); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

// TestSecretUnread: what was not read is never handed over as it was given.
func TestSecretUnread(t *testing.T) {
	list := []plan.Param{{Name: "token", Type: plan.ParamString, Secret: true, Max: 12}}
	values, err := Parse(list, []string{"--token", "@3"})
	if err != nil {
		t.Fatal(err)
	}
	if args, err := Expand([]plan.Word{{{Kind: plan.PartParam}}}, list, values, "/"); err == nil || !strings.Contains(err.Error(), "only sbx run") {
		t.Errorf("got %q, %v", args, err)
	}
}

// TestSecretDash: a secret that would be read as an option is refused without
// being shown.
func TestSecretDash(t *testing.T) {
	list := []plan.Param{{Name: "token", Type: plan.ParamString, Secret: true, Max: 12}}
	_, err := Expand([]plan.Word{{{Kind: plan.PartParam}}}, list, []Value{{Items: []string{"-hidden"}, Given: true, read: true}}, "/")
	if err == nil || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), "begins with -") {
		t.Errorf("got %v", err)
	}
}
