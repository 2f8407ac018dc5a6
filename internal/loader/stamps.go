package loader

import (
	"strings"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/plan"
)

// candidates are the places of an earlier registry at which this name, or
// the same name of another kind, would hide the one that was found.
func candidates(registry, name string) []plan.Stamp {
	stamps := []plan.Stamp{stampOrAbsent(registry)}
	dir := registry
	for _, segment := range strings.Split(name, ".") {
		stamps = append(stamps, stampOrAbsent(dir+"/"+segment+".yaml"), stampOrAbsent(dir+"/"+segment))
		dir += "/" + segment
	}
	return append(stamps, stampOrAbsent(dir+"/bundle.yaml"))
}

func stampOrAbsent(path string) plan.Stamp {
	s, err := engine.Stamp(path)
	if err != nil {
		return plan.Stamp{Path: path, Absent: true}
	}
	return s
}
