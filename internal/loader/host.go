package loader

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/plan"
)

// fingerprint names the state of the host that a verdict on a bundle can
// depend on: the kernel, this build, the features, the program that the bundle
// names, and other files, those of trust. With another one a bundle that was rejected for the host's
// sake is tried again.
func fingerprint(features feature.Set, program string, others []plan.Stamp) string {
	h := sha256.New()
	var uts unix.Utsname
	_ = unix.Uname(&uts) // it cannot be refused; without it the rest still tells hosts apart
	fmt.Fprintf(h, "%s\n%s\n", unix.ByteSliceToString(uts.Release[:]), buildinfo.Build)
	for _, f := range features.All() {
		fmt.Fprintf(h, "%s %t\n", f.Name, f.Present)
	}
	var st unix.Stat_t
	if err := unix.Stat(program, &st); err != nil {
		fmt.Fprintf(h, "%q %v\n", program, err)
	} else {
		fmt.Fprintf(h, "%q %d %d %d %d %d\n", program, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	}
	for _, o := range others {
		fmt.Fprintf(h, "%q %t %d %d %d %d %d\n", o.Path, o.Absent, o.Dev, o.Ino, o.Size, o.MtimeNs, o.CtimeNs)
	}
	return hex.EncodeToString(h.Sum(nil))
}
