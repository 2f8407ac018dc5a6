// Package hostile is a battery of hostile programs: for every line of what a
// sandbox must hold, the ways round it. The acts are C, in one static program
// (testdata/src), because they need entry points that no runtime offers:
// stray high bits, the 32-bit entry, calls by number. The Go side starts each
// act in a sandbox under one honest policy (testdata/honest.yaml), reads what
// the act says and looks from outside at what it did.
//
// Begin with the table in table_*_test.go, one row for each group of acts,
// and TestBattery. TestBare starts the same acts without a sandbox and demands
// that they get through, so that no act passes because it does nothing.
//
// In a guest of test/vm each act is tried by one caller, and of those with
// SBX_TEST_SHARE=N by one in N, others each day (turns_test.go): `make test`
// does that, `make test-vm-hostile` tries all. Acts that may be skipped where
// nothing is missing are pinned by name.
//
// The battery needs SBX_TEST_BIN (the directory of sbx), and gcc with a static
// libc or SBX_TEST_HOSTILE (the built program). It proves nothing about acts
// that are not in it.
package hostile
