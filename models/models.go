// Package models holds the base models that are part of the program. It only carries files: descant/pkg/hub
// unpacks them and resolves builtin:tiny.
package models

import (
	"embed"
	"io/fs"
)

//go:embed tiny
var files embed.FS

// Builtin returns the models by the name after "builtin:", each as the files of a Hugging Face folder.
func Builtin() (map[string]fs.FS, error) {
	tiny, err := fs.Sub(files, "tiny")
	if err != nil {
		return nil, err
	}
	return map[string]fs.FS{"tiny": tiny}, nil
}
