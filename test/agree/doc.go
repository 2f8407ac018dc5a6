// Package agree holds the running kernel against what sbx says is in force:
// it generates policies, runs a probe under each with the built sbx, and
// compares what the kernel answered to the probe with the plan and the ruleset
// of that policy. [TestAgree] is all of it.
//
// Unlike the other tests of the built program it reads the plan that sbx kept
// and the engine's ruleset, because these are what is tested: the ruleset says
// what becomes of each call, the plan's view what shows where and with which
// rights. What it expects of the kernel it works out itself (view_test.go), and
// the errno of a call that is let through it learns from the same call outside
// any sandbox.
//
// Environment: SBX_TEST_BIN is the directory of sbx and sbxd, else they are
// built. SBX_TEST_PROBE is the compiled testdata/probe.c, else gcc compiles it;
// a guest has no compiler. SBX_AGREE_POLICIES is how many policies there are
// (60), SBX_AGREE_SEED what they are generated from, SBX_AGREE_KEEP a
// directory for those on which something did not agree. In a guest of test/vm
// the callers take turns, and with SBX_TEST_SHARE=N one of N policies is tried,
// another one each day; `make test` and `make test-vm-hostile` pass the probe in.
package agree
