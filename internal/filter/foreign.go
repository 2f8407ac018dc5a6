//go:build !weak

package filter

// foreign is the verdict for every other ABI. A plain kill would end only the
// process that called, and leave its parent to exit with 0.
var foreign = Verdict{Kind: Violation}
