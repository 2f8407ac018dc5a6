package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/runner"
	"github.com/sbx-project/sbx/service"
)

// Tools are the commands of the examples.
type Tools struct {
	Greet struct {
		service.Program `path:"/bin/echo" version:"1.0.0" summary:"Greet somebody" argv:"hello {{who}}"`
		Who             string `position:"1" required:"true" max:"40" help:"whom to greet"`
	}
}

// begin starts a service whose state is in a directory of its own.
func begin() (s *service.Service, end func()) {
	dir, err := os.MkdirTemp("", "sbx-example.")
	if err != nil {
		panic(err)
	}
	s, err = service.New(service.Options{Open: service.Embed(service.EmbedOptions{Name: "example", State: dir})})
	if err != nil {
		panic(err)
	}
	if err := s.Start(context.Background()); err != nil {
		panic(err)
	}
	return s, func() {
		if err := s.Stop(context.Background()); err != nil {
			panic(err)
		}
		os.RemoveAll(dir)
	}
}

// Commands are discovered from a struct, registered, and run.
func Example() {
	s, end := begin()
	defer end()
	ctx := context.Background()
	manifests, err := service.Discover(Tools{})
	if err != nil {
		panic(err)
	}
	if err := s.RegisterAll(ctx, manifests); err != nil {
		panic(err)
	}
	report, err := s.Run(ctx, "greet", []string{"world"}, service.Stdio{Out: os.Stdout})
	if err != nil {
		panic(err)
	}
	fmt.Println(report.Outcome, report.ExitCode)
}

// A manifest is the text of a bundle.yaml. Another text under the same name is
// another revision; one that violates its policy while it is on probation is
// taken back.
func ExampleService_Register() {
	s, end := begin()
	defer end()
	ctx := context.Background()
	manifest := func(version string) []byte {
		return []byte("apiVersion: sbx/v1\nname: sh\nversion: " + version + "\n" +
			"exec: {path: /bin/sh, args: passthrough, argv: [-c]}\npolicy: {filesystem: {exec: [view]}}\n")
	}
	run := func(script string) {
		report, err := s.Run(ctx, "sh", []string{script}, service.Stdio{})
		if err != nil {
			panic(err)
		}
		fmt.Println(report.Version, report.Outcome, report.ExitCode, report.RevertedTo)
	}
	for _, version := range []string{"1.0.0", "1.1.0"} {
		if err := s.Register(ctx, manifest(version)); err != nil {
			panic(err)
		}
		run("exit 0")
	}
	run("unshare -n true")
	run("exit 0")
}

// Hooks and validators are added, and removed, while the service runs.
func ExampleService_Validate() {
	s, end := begin()
	defer end()
	ctx := context.Background()
	manifests, err := service.Discover(Tools{})
	if err != nil {
		panic(err)
	}
	if err := s.RegisterAll(ctx, manifests); err != nil {
		panic(err)
	}
	remove := s.Validate("greet", func(_ context.Context, call service.Call) error {
		if call.Args[0] == "nobody" {
			return errors.New("greet somebody")
		}
		return nil
	})
	s.After(func(_ context.Context, call service.Call, r *runner.Report) {
		fmt.Println(call.Name, call.Args, r.Outcome)
	})
	_, err = s.Run(ctx, "greet", []string{"nobody"}, service.Stdio{})
	fmt.Println(errors.Is(err, service.ErrArguments), err)
	remove()
	if _, err = s.Run(ctx, "greet", []string{"nobody"}, service.Stdio{}); err != nil {
		panic(err)
	}
}

// A subscriber gets every change, and how many it missed.
func ExampleService_Subscribe() {
	s, end := begin()
	defer end()
	ctx := context.Background()
	sub := s.Subscribe(16)
	manifests, err := service.Discover(Tools{})
	if err != nil {
		panic(err)
	}
	if err := s.RegisterAll(ctx, manifests); err != nil {
		panic(err)
	}
	if err := s.Unregister(ctx, "greet"); err != nil {
		panic(err)
	}
	sub.Close()
	for {
		event, more := sub.Next(ctx)
		if !more {
			break
		}
		fmt.Println(event.Kind, event.Name, event.Version, event.Lost)
	}
}

// TestExamples runs the examples, in real sandboxes, and holds them to what
// they print. (An Output comment would run them where there are no sandboxes.)
func TestExamples(t *testing.T) {
	testenv.UserNamespaces(t)
	testenv.NoLeaks(t)
	tests := []struct {
		name    string
		example func()
		want    string
	}{
		{"Example", Example, "hello world\nok 0\n"},
		{"Register", ExampleService_Register, "1.0.0 ok 0 \n1.1.0 ok 0 \n1.1.0 violation 159 1.0.0\n1.0.0 ok 0 \n"},
		{"Validate", ExampleService_Validate, "true run \"greet\": wrong arguments: greet somebody\ngreet [nobody] ok\n"},
		{"Subscribe", ExampleService_Subscribe, "registered greet 1.0.0 0\nretired greet 1.0.0 0\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout := os.Stdout
			os.Stdout = w
			var got strings.Builder
			done := make(chan struct{})
			go func() { defer close(done); _, _ = io.Copy(&got, r); r.Close() }()
			func() {
				defer func() {
					os.Stdout = stdout
					w.Close()
					<-done
				}()
				tt.example()
			}()
			if got.String() != tt.want {
				t.Errorf("printed\n%swant\n%s", got.String(), tt.want)
			}
		})
	}
}
