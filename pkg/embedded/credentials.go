package embedded

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"descant/pkg/lifecycle"
)

// CredentialsFile is the file of a data folder with access_key and secret_key of the S3 account, as JSON.
const CredentialsFile = "s3-credentials.json"

// keyPair is the account of the embedded S3 server.
type keyPair struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// credentials reads the keys from a file, or makes them up and writes it.
func credentials(path string) (keyPair, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newCredentials(path)
	}
	if err != nil {
		return keyPair{}, fmt.Errorf("embedded S3 server: %w", err)
	}
	var keys keyPair
	if err := json.Unmarshal(data, &keys); err != nil || keys.AccessKey == "" || keys.SecretKey == "" {
		return keyPair{}, fmt.Errorf("embedded S3 server: %s does not hold access_key and secret_key; remove it, a new one will be made", path)
	}
	return keys, nil
}

func newCredentials(path string) (keyPair, error) {
	keys := keyPair{AccessKey: "descant-" + rand.Text()[:12], SecretKey: rand.Text() + rand.Text()}
	data, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return keyPair{}, err
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, append(data, '\n'), 0o600); err != nil {
		return keyPair{}, fmt.Errorf("embedded S3 server: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return keyPair{}, fmt.Errorf("embedded S3 server: %w", err)
	}
	return keys, nil
}

// Credentials returns the keys of the S3 account in a data folder, for commands on the same machine that
// talk to a running system; fs.ErrNotExist if none ever ran there.
func Credentials(dir string) (access string, secret lifecycle.Secret, err error) {
	path := filepath.Join(dir, CredentialsFile)
	if _, err := os.Stat(path); err != nil {
		return "", lifecycle.Secret{}, err
	}
	keys, err := credentials(path)
	return keys.AccessKey, lifecycle.NewSecret(keys.SecretKey), err
}
