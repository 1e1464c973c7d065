package blob

import (
	"errors"
	"fmt"
	"net/url"

	"descant/pkg/lifecycle"
)

// Config says which object store to use.
type Config struct {
	// Endpoint is the URL of the store. Defaults to http://127.0.0.1:9000.
	Endpoint string `yaml:"endpoint" help:"URL of the S3-compatible object store"`
	// Bucket holds all objects; Open creates it if it may. Defaults to descant.
	Bucket string `yaml:"bucket" help:"bucket that holds all objects"`
	// Prefix goes before every key, for a bucket shared by teams. Defaults to none.
	Prefix string `yaml:"prefix" help:"prefix of every key, for a shared bucket"`
	// Region of the bucket. Defaults to us-east-1.
	Region string `yaml:"region" help:"region of the bucket"`
	// AccessKey names the account.
	AccessKey string `yaml:"access_key" help:"access key of the object store"`
	// SecretKey proves the account.
	SecretKey lifecycle.Secret `yaml:"secret_key" help:"secret key of the object store"`
}

// Defaults returns the configuration that fits `descant up`.
func Defaults() Config {
	return Config{Endpoint: "http://127.0.0.1:9000", Bucket: "descant", Region: "us-east-1"}
}

// Validate returns all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	at, err := url.Parse(c.Endpoint)
	if err != nil || at.Host == "" || (at.Scheme != "http" && at.Scheme != "https") || (at.Path != "" && at.Path != "/") {
		errs = append(errs, fmt.Errorf("endpoint %q is not a URL such as http://127.0.0.1:9000", c.Endpoint))
	}
	if c.Bucket == "" {
		errs = append(errs, errors.New("bucket is empty: name the bucket that holds the objects"))
	}
	if c.AccessKey == "" || c.SecretKey.Empty() {
		errs = append(errs, errors.New("access_key and secret_key are both needed: set DESCANT_BLOB_ACCESS_KEY and DESCANT_BLOB_SECRET_KEY_FILE"))
	}
	return errors.Join(errs...)
}
