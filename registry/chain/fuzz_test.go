package chain

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/registry/life"
)

// object is a root object around a body, with the hash that it must have.
func object(body string) []byte { return []byte(rootPrefix + sum([]byte(body)) + "\n" + body) }

const goodRoot = `{"generation":7,"time":"2026-01-02T03:04:05Z","by":"root","why":"","changed":["a","b.c"],` +
	`"parent":{"generation":6,"sha256":"` + zeroes + `"},"commands":1,"shards":{"0a":{"sha256":"` + zeroes + `","commands":1}}}`

const zeroes = "0000000000000000000000000000000000000000000000000000000000000000"

func TestDecodeRootIsStrict(t *testing.T) {
	if _, err := decodeRoot(7, object(goodRoot)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"unknown key":              {`"by"`, `"x":1,"by"`},
		"key in capitals":          {`"by"`, `"By"`},
		"key twice":                {`"by":"root"`, `"by":"root","by":"root"`},
		"other order":              {`"by":"root","why":""`, `"why":"","by":"root"`},
		"space":                    {`{"generation"`, `{ "generation"`},
		"something after it":       {`"commands":1}}}`, `"commands":1}}}{}`},
		"another generation":       {`"generation":7`, `"generation":8`},
		"generation 0":             {`"generation":7`, `"generation":0`},
		"a negative generation":    {`"generation":7`, `"generation":-7`},
		"a parent that is newer":   {`"generation":6`, `"generation":7`},
		"parent 0":                 {`"generation":6`, `"generation":0`},
		"a parent without hash":    {`6,"sha256":"0`, `6,"sha256":"`},
		"a path for a hash":        {`"0a":{"sha256":"` + zeroes, `"0a":{"sha256":"../../` + zeroes[6:]},
		"a shard that is no shard": {`"0a"`, `"0A"`},
		"a shard beyond the last":  {`"0a"`, `"100"`},
		"too many commands":        {`"commands":1,`, `"commands":2,`},
		"a negative count":         {`"commands":1}`, `"commands":-1}`},
		"an empty shard":           {`"commands":1}`, `"commands":0}`},
		"a name that is none":      {`"b.c"`, `"b/c"`},
		"names that are unsorted":  {`"a","b.c"`, `"b.c","a"`},
		"a name twice":             {`"a","b.c"`, `"a","a"`},
		"no list of names":         {`["a","b.c"]`, `null`},
		"no shards":                {`{"0a":{"sha256":"` + zeroes + `","commands":1}}`, `null`},
		"no time":                  {`"2026-01-02T03:04:05Z"`, `"yesterday"`},
		"a long reason":            {`"why":""`, `"why":"` + strings.Repeat("x", maxText+1) + `"`},
		"not UTF-8":                {`"by":"root"`, "\"by\":\"\xff\""},
	} {
		body := strings.Replace(goodRoot, change[0], change[1], 1)
		if body == goodRoot {
			t.Errorf("%s: nothing is changed", name)
		}
		if r, err := decodeRoot(7, object(body)); err == nil {
			t.Errorf("%s: decoded as %+v", name, r)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "no hash": goodRoot, "no newline": rootPrefix + sum([]byte("")), "another version": "sbx-generation/v2 " + sum([]byte(goodRoot)) + "\n" + goodRoot,
	} {
		if _, err := decodeRoot(7, []byte(text)); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

// seeds are shards as they are written, and some that are not.
func seeds(f *testing.F) {
	f.Add([]byte(goodRoot))
	f.Add([]byte(`{"commands":[]}`))
	f.Add([]byte(`{"commands":[{"name":"a"},{"name":"a"}]}`))
	f.Add([]byte(`{"commands":null}`))
	for _, n := range []int{1, 3} {
		var list []life.Command
		for _, c := range table(n).Commands {
			list = append(list, c)
		}
		data, err := encodeShard(list)
		must(f, err)
		f.Add(data)
	}
}

// FuzzDecodeRoot: what is decoded is within bounds, and is encoded to the same
// bytes. The hash is made right, so that what comes after it is reached.
func FuzzDecodeRoot(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decodeRoot(7, object(string(body)))
		if err != nil {
			return
		}
		again, err := encodeRoot(r)
		if err != nil || !bytes.Equal(again, object(string(body))) {
			t.Errorf("%q became %q, %v", body, again, err)
		}
		if r.Generation != 7 {
			t.Errorf("generation %d", r.Generation)
		}
	})
}

// FuzzDecodeShard: as FuzzDecodeRoot, and every command is sound.
func FuzzDecodeShard(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var some struct {
			Commands []struct{ Name string }
		}
		if json.Unmarshal(data, &some) != nil || len(some.Commands) == 0 {
			return
		}
		number := shardOf(some.Commands[0].Name)
		list, err := decodeShard(number, reference{SHA256: sum(data), Commands: len(some.Commands)}, data)
		if err != nil {
			return
		}
		for _, c := range list {
			if checkCommand(c.Name, c) != nil || shardOf(c.Name) != number {
				t.Errorf("accepted %+v", c)
			}
		}
		again, err := encodeShard(list)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q, %v", data, again, err)
		}
	})
}
