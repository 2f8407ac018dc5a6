package loader

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/plan"
)

// candidates are the places of an earlier registry at which this name, or
// the same name of another kind, would hide the one that was found.
func candidates(registry, name string) []plan.Stamp {
	stamps := []plan.Stamp{passage(registry)}
	dir := registry
	for _, segment := range strings.Split(name, ".") {
		stamps = append(stamps, stampOrAbsent(dir+"/"+segment+".yaml"), passage(dir+"/"+segment))
		dir += "/" + segment
	}
	return append(stamps, stampOrAbsent(dir+"/bundle.yaml"))
}

// above are the stamps of the directories through which a path leads, from / on,
// by its own name and by the real one: who may write one of them could put
// something else in the place of what was checked.
func above(path string) (stamps []plan.Stamp) {
	for _, p := range [...]string{path, realPath(path)} {
		for i := range p {
			if p[i] == '/' {
				stamps = append(stamps, passage(p[:max(i, 1)]))
			}
		}
	}
	return stamps
}

// realPath is a path without links; "" where there is none.
func realPath(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil || real == path {
		return ""
	}
	return real
}

// passage is the stamp of a directory that only leads somewhere, of whatever
// else is there, or of its absence.
func passage(path string) plan.Stamp {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return stampOrAbsent(path)
	}
	return plan.Stamp{Path: path, Dev: st.Dev, Ino: st.Ino, Passage: true, Mode: st.Mode, UID: st.Uid}
}

func stampOrAbsent(path string) plan.Stamp {
	s, err := engine.Stamp(path)
	if err != nil {
		return plan.Stamp{Path: path, Absent: true}
	}
	return s
}
