package loader

import (
	"testing"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/registry"
)

func BenchmarkCompile(b *testing.B) {
	bundle, err := registry.Builtin().Load("jq")
	if err != nil {
		b.Fatal(err)
	}
	features := feature.Probe()
	b.Run("probe", func(b *testing.B) {
		for b.Loop() {
			feature.Probe()
		}
	})
	b.Run("forbundle", func(b *testing.B) {
		for b.Loop() {
			engine.ForBundle(&bundle, 1, "b", features)
		}
	})
	req, err := engine.ForBundle(&bundle, 1, "b", features)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("gather", func(b *testing.B) {
		for b.Loop() {
			engine.Gather(req)
		}
	})
	in, err := engine.Gather(req)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("compile", func(b *testing.B) {
		for b.Loop() {
			engine.Compile(in)
		}
	})
}
