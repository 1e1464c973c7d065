// Package pagetest is for the programs and tests that look at the web page in a browser.
package pagetest

import "os/exec"

// Chromium is the path of the browser, or "" where none is on the PATH.
func Chromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
