package job

import (
	"path"
	"strings"
	"unicode"
)

// DigestRef refers to the content of a digest and keeps the name of the file that it came from: sha256:<hex>/book.txt.
// Messages call the dataset by that name, and it says that a .txt is a plain text.
func DigestRef(digest, file string) string {
	if file == "" {
		return digest
	}
	return digest + "/" + file
}

// SplitDigestRef undoes DigestRef; file is "" where the reference has none.
func SplitDigestRef(ref string) (digest, file string) {
	if !strings.HasPrefix(ref, "sha256:") {
		return ref, ""
	}
	digest, file, _ = strings.Cut(ref, "/")
	return digest, file
}

// ValidFileName says whether the name in a reference is one: the last part of a path that can be printed.
func ValidFileName(file string) bool {
	return file == path.Base(file) && file != "." && file != ".." && len(file) <= 255 && !strings.ContainsFunc(file, unicode.IsControl)
}

// File is what messages call the dataset: the name of its file, as far as it is known, else the reference.
func (d SpecDataset) File() string {
	for _, ref := range []string{d.Dataset, d.Name} {
		if _, file := SplitDigestRef(ref); file != "" {
			return file
		}
	}
	return d.Name
}
