package descant_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// layers is the house: a package imports only packages of strictly lower layers. docs/design.md says what each is.
var layers = map[string]int{
	"pkg/pb": 0, "pkg/lifecycle": 0, "pkg/safetensors": 0, "pkg/chat": 0, "models": 0, "pkg/report": 0, "pkg/page": 0,
	"pkg/blob": 1, "pkg/tokenizer": 1, "pkg/hub": 1, "pkg/dataset": 1, "pkg/device": 1,
	"pkg/model": 2, "pkg/job": 2,
	"pkg/lora": 3, "pkg/bus": 3, "pkg/grammar": 3,
	"pkg/stage": 4, "pkg/train": 4, "pkg/generate": 4, "pkg/registry": 4, "pkg/embedded": 4, "pkg/gguf": 4, "pkg/route": 4, "pkg/openai": 4,
	"services/gateway": 5, "services/tokenizer": 5, "services/trainer": 5, "services/inference": 5,
	"cmd/descant": 6,
}

// owners names the packages that may import a third-party module; every module has an entry.
var owners = map[string][]string{
	"google.golang.org/protobuf":                  {"pkg/pb", "pkg/bus", "pkg/registry", "pkg/report", "pkg/openai", "services/*", "cmd/descant"},
	"github.com/prometheus/client_golang":         {"pkg/lifecycle", "services/*"},
	"github.com/goccy/go-yaml":                    {"pkg/lifecycle"},
	"github.com/spf13/pflag":                      {"pkg/lifecycle", "cmd/descant"},
	"github.com/minio/minio-go/v7":                {"pkg/blob"},
	"github.com/daulet/tokenizers":                {"pkg/tokenizer"},
	"github.com/gomlx/go-huggingface":             {"pkg/hub"},
	"github.com/klauspost/compress":               {"pkg/dataset"},
	"github.com/parquet-go/parquet-go":            {"pkg/dataset"},
	"github.com/gomlx/go-xla":                     {"pkg/device"},
	"github.com/gomlx/compute":                    {"pkg/device", "pkg/model", "pkg/lora", "pkg/train", "pkg/generate"},
	"github.com/gomlx/gomlx":                      {"pkg/model", "pkg/lora", "pkg/train", "pkg/generate"},
	"github.com/nats-io/nats.go":                  {"pkg/bus", "pkg/embedded"},
	"github.com/synadia-io/orbit.go/jetstreamext": {"pkg/bus"},
	"github.com/nats-io/nats-server/v2":           {"pkg/embedded"},
	"github.com/versity/versitygw":                {"pkg/embedded"},
	"gonum.org/v1/plot":                           {"pkg/report"},
	"github.com/spf13/cobra":                      {"cmd/descant"},
	"github.com/vbauerster/mpb/v8":                {"cmd/descant"},
	"github.com/chzyer/readline":                  {"cmd/descant"},
	"github.com/guptarohit/asciigraph":            {"cmd/descant"},
	"golang.org/x/term":                           {"pkg/lifecycle", "cmd/descant"},
}

// shared modules are extensions of the standard library, for everyone.
var shared = []string{"golang.org/x/sys", "golang.org/x/sync", "golang.org/x/text"}

// testOnly modules are for tests, and for the programs under scripts/, which no service imports.
var testOnly = []string{"go.uber.org/goleak", "golang.org/x/mod", "github.com/openai/openai-go/v3", "github.com/getkin/kin-openapi", "github.com/chromedp/chromedp", "github.com/chromedp/cdproto", "github.com/creack/pty"}

// importUse is one import. Packages whose name ends in test (hubtest, servertest) count as tests.
type importUse struct {
	file, pkg, path string
	test            bool
}

func TestLayers(t *testing.T) {
	t.Parallel()
	uses := imports(t)
	if len(uses) < 50 {
		t.Fatalf("only %d imports found: the walk is broken", len(uses))
	}
	for _, use := range uses {
		local, isLocal := strings.CutPrefix(use.path, "descant/")
		from, layered := layer(use.pkg)
		if isLocal && layered && !use.test {
			to, known := layer(local)
			within := house(local) == house(use.pkg)
			switch {
			case within:
			case !known:
				t.Errorf("%s imports %s, which has no layer: add it to the table and to docs/design.md", use.file, use.path)
			case to >= from:
				t.Errorf("%s (layer %d) imports %s (layer %d): imports go strictly down", use.file, from, use.path, to)
			}
		}
		if !layered && !use.test && !strings.HasPrefix(use.pkg, "scripts/") {
			t.Errorf("%s is in a package without a layer", use.file)
		}
	}
}

func TestThirdPartyOwners(t *testing.T) {
	t.Parallel()
	modules := requirements(t)
	for _, use := range imports(t) {
		if first, _, _ := strings.Cut(use.path, "/"); !strings.Contains(first, ".") {
			continue
		}
		module := longestPrefix(modules, use.path)
		switch {
		case module == "":
			t.Errorf("%s imports %s, which go.mod does not require directly", use.file, use.path)
		case slices.Contains(shared, module):
		case slices.Contains(testOnly, module):
			if !use.test && !strings.HasPrefix(use.pkg, "scripts/") {
				t.Errorf("%s imports %s, which is for tests only", use.file, use.path)
			}
		case use.test || strings.HasPrefix(use.pkg, "scripts/"):
		case !owned(module, use.pkg):
			t.Errorf("%s imports %s, owned by %v", use.file, use.path, owners[module])
		}
	}
}

func owned(module, pkg string) bool {
	for _, owner := range owners[module] {
		if ok, _ := path.Match(owner, house(pkg)); ok {
			return true
		}
	}
	return false
}

// house is the package of the table that a folder belongs to: the folder itself or the one above it.
func house(pkg string) string {
	for dir := pkg; dir != "." && dir != "/"; dir = path.Dir(dir) {
		if _, ok := layers[dir]; ok {
			return dir
		}
	}
	return pkg
}

func layer(pkg string) (int, bool) {
	n, ok := layers[house(pkg)]
	return n, ok
}

func longestPrefix(modules []string, importPath string) (best string) {
	for _, module := range modules {
		if (importPath == module || strings.HasPrefix(importPath, module+"/")) && len(module) > len(best) {
			best = module
		}
	}
	return best
}

// requirements lists the direct requirements of go.mod.
func requirements(t *testing.T) (modules []string) {
	t.Helper()
	data, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, require := range parsed.Require {
		if !require.Indirect {
			modules = append(modules, require.Mod.Path)
		}
	}
	return modules
}

func imports(t *testing.T) (uses []importUse) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == "testdata" || name == "build" || (strings.HasPrefix(name, ".") && name != ".") || name == "tools" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || filepath.Dir(file) == "." {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			importPath, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			uses = append(uses, importUse{file: file, pkg: filepath.ToSlash(filepath.Dir(file)), path: importPath,
				test: strings.HasSuffix(file, "_test.go") || strings.HasSuffix(filepath.Dir(file), "test")})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return uses
}
