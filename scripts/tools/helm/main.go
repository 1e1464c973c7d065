// Command helm renders a chart as `helm template` does: helm NAME NAMESPACE CHART [VALUES.yaml]. It is a module of its own, so that
// Helm and the libraries of Kubernetes weigh on no binary.
package main

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	if err := render(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "helm:", err)
		os.Exit(1)
	}
}

func render(args []string) error {
	if len(args) < 3 || len(args) > 4 {
		return fmt.Errorf("%d arguments: give NAME NAMESPACE CHART [VALUES.yaml]", len(args))
	}
	chart, err := loader.Load(args[2])
	if err != nil {
		return fmt.Errorf("load %s: %w", args[2], err)
	}
	if err := chart.Validate(); err != nil {
		return fmt.Errorf("chart %s: %w", args[2], err)
	}
	given := chartutil.Values{}
	if len(args) == 4 {
		if given, err = chartutil.ReadValuesFile(args[3]); err != nil {
			return fmt.Errorf("read %s: %w", args[3], err)
		}
	}
	if err := chartutil.ProcessDependencies(chart, given); err != nil {
		return fmt.Errorf("dependencies: %w", err)
	}
	// ToRenderValues holds the values against values.schema.json.
	values, err := chartutil.ToRenderValues(chart, given, chartutil.ReleaseOptions{Name: args[0], Namespace: args[1], Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return err
	}
	files, err := engine.Engine{Strict: true}.Render(chart, values)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if text := files[name]; strings.TrimSpace(text) != "" && path.Base(name) != "NOTES.txt" {
			fmt.Printf("---\n# Source: %s\n%s\n", name, text)
		}
	}
	return nil
}
