package main

import (
	"context"
	"errors"
	"os"
	"os/exec"

	"descant/pkg/page/pagetest"
)

// installChromium sees that there is a browser for the test of the page. Its own builds come from hosts that many networks do
// not reach, so it is the system's package.
func installChromium(ctx context.Context, _ string, say func(string)) (string, error) {
	if path := pagetest.Chromium(); path != "" {
		say("is there: " + path)
		return path, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return "", errors.New("there is no chromium, chromium-browser or google-chrome on the PATH, with which the web page is tested: install one " +
			"(on Debian as root: apt-get install chromium)")
	}
	say("installing the package chromium")
	if err := quietly(ctx, "apt-get", "update"); err != nil {
		return "", err
	}
	if err := quietly(ctx, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends", "chromium"); err != nil {
		return "", err
	}
	if path := pagetest.Chromium(); path != "" {
		return path, nil
	}
	return "", errors.New("the package chromium has put no chromium on the PATH")
}
