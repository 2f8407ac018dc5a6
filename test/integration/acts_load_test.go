package integration

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// actSpin uses one processor for a time.
func actSpin(args []string) int {
	for end := time.Now().Add(duration(args[0])); time.Now().Before(end); {
	}
	return 0
}

// touch makes n MiB of memory real.
func touch(n int) []byte {
	b := make([]byte, n<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b
}

// actEat takes MiB of memory and holds it for a time.
func actEat(args []string) int {
	b := touch(number(args[0]))
	time.Sleep(duration(args[1]))
	runtime.KeepAlive(b)
	fmt.Println("ate")
	return 0
}

// actEatMany has a number of children eat at once.
func actEatMany(args []string) int {
	var cmds []*exec.Cmd
	for range number(args[0]) {
		cmd := again("eat", args[1], args[2])
		if err := cmd.Start(); err != nil {
			return complain("%v", err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			return complain("%v", err)
		}
	}
	return 0
}

// actBomb makes children that do the same, for ever.
func actBomb([]string) int {
	for {
		if cmd := again("bomb"); cmd.Start() == nil {
			go cmd.Wait()
		}
	}
}

// actChildren starts children until it cannot, and says how many there were.
func actChildren(args []string) int {
	limit := number(args[0])
	for n := range limit {
		if err := again("sleep", "1m").Start(); err != nil {
			fmt.Printf("%d children: %v\n", n, err)
			return 7
		}
	}
	fmt.Printf("%d children\n", limit)
	return 0
}

// actPour writes FD:BYTES, one after the other. It ends well also where the
// output is cut off.
func actPour(args []string) int {
	for i, arg := range args {
		fd, n := pourOf(arg)
		for text := []byte(pattern(i, n)); len(text) > 0; {
			wrote, err := unix.Write(fd, text)
			if err != nil {
				return 0
			}
			text = text[wrote:]
		}
	}
	return 0
}

func pourOf(arg string) (fd, n int) {
	to, size, _ := strings.Cut(arg, ":")
	return number(to), number(size)
}

// pattern is n bytes that are not those of another pour.
func pattern(pour, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnopqrtuvw"[(i+i/1000+7*pour)%22] // no s, x: not "sbx: "
	}
	return string(b)
}
