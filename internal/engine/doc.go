// Package engine turns what an operator wrote about a command into what a
// launch carries out: a resolved policy, the program's identity and the facts
// of the host become a [plan.Plan].
//
// [Gather] looks at the host and makes an [Input]; [Compile] is pure and makes
// the plan, the same for the same input, so plans are golden-tested without
// privileges. [Describe] shows a plan to people. A refusal is an [*Error]
// with the exit status that the command ends with.
//
// The engine never widens: a policy that this version or this host cannot
// hold is refused by name. What it does not do: it loads no filter, mounts
// nothing and starts nothing.
package engine
