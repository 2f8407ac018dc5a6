package main

import (
	"strings"

	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// object is a JSON object.
type object = map[string]any

func document(title string, schema object) object {
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = title
	return schema
}

// mapping is a mapping with these keys and no others.
func mapping(keys object, required ...string) object {
	m := object{"type": "object", "properties": keys, "additionalProperties": false}
	if len(required) > 0 {
		m["required"] = required
	}
	return m
}

func list(items object) object { return object{"type": "array", "items": items} }

// set is a list of different items.
func set(items object) object {
	return object{"type": "array", "items": items, "uniqueItems": true}
}

func text(pattern string) object { return object{"type": "string", "pattern": pattern} }

func choice(values ...string) object { return object{"enum": values} }

// number is an integer, or its digits in quotes.
func number(low, high uint64) object {
	return either(object{"type": "integer", "minimum": low, "maximum": high}, text("^(0|[1-9][0-9]*)$"))
}

func either(schemas ...object) object { return object{"anyOf": schemas} }

// Spellings, as the decoder has them.
var (
	anyText  = object{"type": "string"}
	scalar   = object{"type": []string{"string", "number", "boolean"}}
	boolean  = object{"type": "boolean"}
	size     = either(object{"type": "integer", "minimum": 0}, text("^(0|[1-9][0-9]*)[KMGT]?$"))
	duration = text("^([0-9.]+(ns|us|µs|ms|s|m|h))+$")
	path     = text(`^-?(/.+|\{\{cwd\}\}|\{\{bundle\}\}(/.+)?)$`)
	maskPath = text(`^-?(\{\{cwd\}\})?/.+$`)
	syscall  = text("^(@[a-z][a-z0-9-]*|[a-z_][a-z0-9_]*|nr:(0|[1-9][0-9]*))$")
	segment  = text("^[a-z][a-z0-9-]{0,31}$")
	command  = text(`^[a-z][a-z0-9-]{0,31}(\.[a-z][a-z0-9-]{0,31}){0,7}$`)
	version  = text(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$`)
	envName  = "^[A-Za-z_][A-Za-z0-9_]*$"
	account  = text("^([a-z_][a-z0-9_-]{0,31}|0|[1-9][0-9]{0,9})$")
)

func policySchema() object {
	return mapping(object{
		"extends":                   set(segment),
		"filesystem":                filesystem(),
		"syscalls":                  syscalls(),
		"network":                   mapping(object{"mode": choice("none", "loopback"), "allow": object{"type": "array", "maxItems": 0}}),
		"sockets":                   set(choice(policy.FamilyNames()...)),
		"limits":                    limits(),
		"devices":                   object{"type": "array", "maxItems": 0},
		"env":                       environment(),
		"user":                      text("^(caller|dynamic|[a-z_][a-z0-9_-]{0,31}|[1-9][0-9]*:[1-9][0-9]*)$"),
		"capabilities":              set(choice(policy.CapabilityNames()...)),
		"memory_deny_write_execute": boolean,
		"require":                   set(choice(policy.Layers()...)),
	})
}

func filesystem() object {
	return mapping(object{
		"proc":  choice("subset", "full"),
		"view":  choice("none", "minimal"),
		"read":  list(either(path, mapping(object{"path": path, "as": choice("owner")}, "path"))),
		"write": set(text(`^-?(/.+|\{\{cwd\}\})$`)),
		"exec":  set(text(`^(view|-?(/.+|\{\{bundle\}\}(/.+)?))$`)),
		"mask":  set(maskPath),
		"tmpfs": list(mapping(object{"path": text("^/.+$"), "size": size, "files": number(1, 1<<31)}, "path")),
	})
}

func syscalls() object {
	errno := object{}
	for _, name := range policy.ErrnoNames() {
		errno[name] = set(syscall)
	}
	argument := mapping(object{
		"index": number(0, 5),
		"op":    choice("eq", "ne", "lt", "le", "gt", "ge", "masked_eq"),
		"value": word(),
		"mask":  word(),
	}, "index", "op", "value")
	return mapping(object{
		"allow":   set(syscall),
		"deny":    set(syscall),
		"errno":   mapping(errno),
		"default": choice("kill", "errno"),
		"rules": list(mapping(object{
			"names":  set(syscall),
			"args":   object{"type": "array", "items": argument, "minItems": 1},
			"action": choice("allow", "errno", "kill"),
			"errno":  choice(policy.ErrnoNames()...),
		}, "names", "args", "action")),
	})
}

// word is 64 bits in decimal or hexadecimal.
func word() object {
	return either(object{"type": "integer", "minimum": 0}, text("^(0|[1-9][0-9]*|0x[0-9a-fA-F]{1,16})$"))
}

// limits has every limit twice: required, and optional behind "-".
func limits() object {
	line := text("^[0-9]+:[0-9]+( (rbps|wbps|riops|wiops)=[0-9]+[KMGT]?)+$")
	special := map[string]object{
		"memory_max": size, "memory_swap_max": size, "output_max": size,
		"pids_max": number(1, 4<<20), "cpu_weight": number(1, 10_000),
		"cpu_max": text("^([0-9]+(\\.[0-9]{1,3})?%|[0-9]+ [0-9]+)$"),
		"io_max":  either(line, list(line)), "timeout": duration,
	}
	keys := object{}
	for _, name := range policy.LimitNames() {
		schema, ok := special[name]
		if !ok {
			if !strings.HasPrefix(name, "rlimit_") {
				panic("bug: no schema for the limit " + name)
			}
			schema = size
		}
		keys[name], keys["-"+name] = schema, schema
	}
	return mapping(keys)
}

func environment() object {
	return mapping(object{
		"pass": set(text(`^[A-Za-z_][A-Za-z0-9_]*\*?$`)),
		"set": object{
			"type": "object", "propertyNames": object{"pattern": envName}, "additionalProperties": scalar,
		},
	})
}

func bundleSchema() object {
	window := func(count string, low uint64) object {
		return mapping(object{count: number(low, 1_000_000), "window": duration})
	}
	return mapping(object{
		"apiVersion": choice(registry.APIVersion),
		"name":       command,
		"version":    version,
		"summary":    object{"type": "string", "minLength": 1, "maxLength": 200},
		"exec": mapping(object{
			"path":   object{"type": "string", "minLength": 1},
			"sha256": text("^[0-9a-f]{64}$"),
			"argv0":  object{"type": "string", "minLength": 1, "maxLength": 255},
			"args":   choice("declared", "passthrough"),
			"argv":   list(scalar),
		}, "path"),
		"params": list(parameter()),
		"requires": mapping(object{
			"sbx": text(`^>=[0-9]+(\.[0-9]+){0,2}`), "commands": set(command),
			"features": set(text("^[a-z][a-z0-9._-]*$")),
		}),
		"floor":    version,
		"revision": mapping(object{"counter": object{"type": "object", "additionalProperties": number(0, 1<<62)}}),
		"checks": list(mapping(object{
			"argv": list(scalar),
			"expect": either(
				mapping(object{"exit": number(0, 255)}, "exit"),
				mapping(object{"violation": text("^[a-z0-9_]+$")}, "violation")),
		}, "expect")),
		"on_violation":  choice("kill", "quarantine", "revert"),
		"probation":     window("runs", 1),
		"revert_budget": window("count", 0),
		"allow":         mapping(object{"users": set(account), "groups": set(account)}),
		"policy":        policySchema(),
	}, "apiVersion", "name", "version", "exec")
}

func parameter() object {
	kind := choice("string", "int", "float", "bool", "duration", "size", "path", "enum")
	return mapping(object{
		"name":     text("^[a-z][a-z0-9_-]{0,31}$"),
		"type":     either(kind, object{"type": "array", "items": kind, "minItems": 1, "maxItems": 1}),
		"chars":    anyText,
		"max":      number(1, 128<<10-1),
		"values":   set(scalar),
		"default":  scalar,
		"required": boolean,
		"secret":   boolean,
		"access":   choice("read", "write", "create"),
		"position": number(1, 128),
		"help":     anyText,
	}, "name", "type")
}
