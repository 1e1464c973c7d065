package hub

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/lifecycle"
)

// Config says where models come from and where they are kept.
type Config struct {
	// Endpoint is the URL of the hub or of a mirror. Defaults to $HF_ENDPOINT, else https://huggingface.co.
	Endpoint string `yaml:"endpoint" help:"URL of the Hugging Face hub or of a mirror"`
	// Token is sent to Endpoint and nowhere else. Defaults to $HF_TOKEN, else the content of $HF_TOKEN_PATH
	// or $HF_HOME/token, which "hf auth login" writes.
	Token lifecycle.Secret `yaml:"token" help:"access token of the Hugging Face hub"`
	// ModelScope lets names of repositories stand for those of ModelScope in place of the Hugging Face hub. Defaults to
	// $USE_MODELSCOPE_HUB.
	ModelScope bool `yaml:"modelscope" help:"bring bases from ModelScope in place of the Hugging Face hub"`
	// ModelScopeEndpoint is the URL of ModelScope. Defaults to https://$MODELSCOPE_DOMAIN, else https://www.modelscope.cn.
	ModelScopeEndpoint string `yaml:"modelscope_endpoint" help:"URL of ModelScope"`
	// ModelScopeToken opens private repositories there and is sent nowhere else. Defaults to $MODELSCOPE_API_TOKEN.
	ModelScopeToken lifecycle.Secret `yaml:"modelscope_token" help:"access token of ModelScope"`
	// CacheDir is the cache shared with Python's huggingface_hub. Defaults to $HF_HUB_CACHE, else
	// $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.
	CacheDir string `yaml:"cache_dir" help:"download cache, shared with Python's huggingface_hub"`
	// Offline uses the cache only. Defaults to $HF_HUB_OFFLINE.
	Offline bool `yaml:"offline" help:"use only what is in the cache, never the network"`
	// WorkDir keeps models from the object store, unpacked built-in models and known digests of files.
	// Defaults to $DESCANT_CACHE/models, else $XDG_CACHE_HOME/descant/models, else ~/.cache/descant/models.
	WorkDir string `yaml:"work_dir" help:"folder for models from the object store and for digests of files"`
	// LocalDirs are the folders below which a model may be named by its path; "/" allows every path.
	// Defaults to none: what arrives in a request opens no local path.
	LocalDirs []string `yaml:"local_dirs" help:"folders below which a model may be named by its path"`
}

// Defaults returns the configuration that the environment variables of the Hugging Face tools describe.
func Defaults() Config {
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	cache := envOr("XDG_CACHE_HOME", filepath.Join(home, ".cache"))
	hfHome := envOr("HF_HOME", filepath.Join(cache, "huggingface"))
	token := os.Getenv("HF_TOKEN")
	if token == "" {
		if text, err := os.ReadFile(envOr("HF_TOKEN_PATH", filepath.Join(hfHome, "token"))); err == nil {
			token = strings.TrimSpace(string(text))
		}
	}
	return Config{
		Endpoint:           envOr("HF_ENDPOINT", "https://huggingface.co"),
		Token:              lifecycle.NewSecret(token),
		CacheDir:           envOr("HF_HUB_CACHE", filepath.Join(hfHome, "hub")),
		ModelScope:         isTrue(os.Getenv("USE_MODELSCOPE_HUB")),
		ModelScopeEndpoint: scopeEndpoint(os.Getenv("MODELSCOPE_DOMAIN")),
		ModelScopeToken:    lifecycle.NewSecret(os.Getenv("MODELSCOPE_API_TOKEN")),
		Offline:            isTrue(os.Getenv("HF_HUB_OFFLINE")),
		WorkDir:            filepath.Join(envOr("DESCANT_CACHE", filepath.Join(cache, "descant")), "models"),
	}
}

// scopeEndpoint is the URL of a ModelScope domain, which may be written with its scheme.
func scopeEndpoint(domain string) string {
	switch {
	case domain == "":
		return "https://www.modelscope.cn"
	case strings.Contains(domain, "://"):
		return domain
	}
	return "https://" + domain
}

func envOr(key, otherwise string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return otherwise
}

func isTrue(text string) bool {
	switch strings.ToUpper(text) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// Options is a Config and what only a program can give.
type Options struct {
	Config
	// Store is the object store for sha256: and s3:// names; nil means there is none.
	Store Store
	// Builtin has the models behind builtin:<name>, each as a folder of files.
	Builtin map[string]fs.FS
	// Progress, if not nil, is called while files arrive, from several goroutines.
	Progress func(Progress)
	// Client sends the requests. Defaults to one with time limits for connecting and for answers.
	Client *http.Client
}

// Progress tells how far a download is.
type Progress struct {
	Name  string // the model
	File  string // the file that moved on
	Done  int64  // bytes of all files that are here
	Total int64  // bytes of all files; it grows while sizes become known
}
