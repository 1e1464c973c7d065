package gateway

import (
	"fmt"
	"net"
	"time"

	"descant/pkg/lifecycle"
	"descant/pkg/openai"
)

// AddrOff as an address serves no HTTP API.
const AddrOff = "off"

// Config of the gateway.
type Config struct {
	// Reconcile is how often the jobs are looked through for one that no message will wake.
	// Defaults to 15s.
	Reconcile time.Duration `yaml:"reconcile" help:"how often jobs are looked through for one that is stuck"`
	// Grace is how long a job may be without a worker before its work is queued again. Defaults to 2m.
	Grace time.Duration `yaml:"grace" help:"how long a waiting job may stay unchanged before its work is queued again"`
	// WaitForWorker is how long a chat request waits while no inference worker is there, as in the moments of a restart.
	// Defaults to 3s.
	WaitForWorker time.Duration `yaml:"wait_for_worker" help:"how long a chat request waits while no inference worker is there"`
	// Addr serves the HTTP API; port 0 takes a free one, which the log names, and off serves none. An address that other
	// machines can reach needs APIKeys. Defaults to 127.0.0.1:8000.
	Addr string `yaml:"addr" help:"address of the HTTP API (port 0: any free one; off: none)"`
	// APIKeys are the keys of the HTTP API, one a line, each with the scopes that it has (infer, train, admin) or, without
	// any, all of them. Defaults to none: everybody on this machine may do everything.
	APIKeys lifecycle.Secret `yaml:"api_keys" help:"keys of the HTTP API, one a line, each with its scopes (infer, train, admin; none: all)"`
	// MaxUpload is the largest file that is taken over HTTP. Defaults to 4GiB.
	MaxUpload lifecycle.Bytes `yaml:"max_upload" help:"largest file that is taken over HTTP"`
	// WorkDir is where an uploaded file lies while it is checked. Defaults to the cache folder's work/gateway.
	WorkDir string `yaml:"work_dir" help:"folder for uploaded files while they are checked"`
}

// Defaults returns the configuration of `descant up`.
func Defaults() Config {
	return Config{Reconcile: 15 * time.Second, Grace: 2 * time.Minute, WaitForWorker: 3 * time.Second, Addr: "127.0.0.1:8000", MaxUpload: 4 << 30}
}

// Validate returns what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Reconcile <= 0 || c.Grace <= 0 {
		return fmt.Errorf("gateway: reconcile is %s and grace is %s: use positive durations", c.Reconcile, c.Grace)
	}
	if c.WaitForWorker < 0 {
		return fmt.Errorf("gateway: wait_for_worker is %s: use 0 (refuse at once) or more", c.WaitForWorker)
	}
	keys, err := openai.ParseKeys(c.APIKeys.Reveal())
	if err != nil {
		return fmt.Errorf("gateway: api_keys: %w", err)
	}
	if c.Addr == AddrOff {
		return nil
	}
	if c.MaxUpload < 1 || c.WorkDir == "" {
		return fmt.Errorf("gateway: max_upload is %s and work_dir is %q: give a size above 0 and a folder", c.MaxUpload, c.WorkDir)
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("gateway: addr %q: use host:port such as 127.0.0.1:8000, or off", c.Addr)
	}
	if keys.Empty() && !openai.Loopback(c.Addr) {
		return fmt.Errorf("gateway: addr %s can be reached from other machines, where anybody could use it: set API keys (--gateway-api-keys-file FILE, one key a line), or use a loopback address such as 127.0.0.1:8000", c.Addr)
	}
	return nil
}
