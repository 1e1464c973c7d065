package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildVersion is the version of the module, or the commit that was built, as a semantic version.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "0.0.0"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		if v[0] == 'v' {
			v = v[1:]
		}
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "0.0.0-" + s.Value[:12]
		}
	}
	return "0.0.0"
}

func (a *app) versionCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use: "version", Short: "Print the version",
		Example: "  descant version --json",
	}, "", func(context.Context, []string) error {
		v := map[string]string{"version": buildVersion(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		return a.print(v, func() {
			fmt.Fprintf(a.out, "descant %s (%s, %s)\n", v["version"], v["go"], v["platform"])
		})
	})
}
