package safetensors

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
)

// File is an open safetensors file, mapped into memory read-only. Its methods may be called from
// several goroutines, Close excepted. The file must not be cut short by another process while it is
// open; files that are written by this package are replaced whole, never changed in place.
type File struct {
	path   string
	data   []byte
	head   *header
	mapped bool
}

// Open maps the file and checks its header completely; see parseHeader for what is refused.
func Open(path string) (*File, error) {
	data, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f := &File{path: path, data: data, mapped: true}
	if f.head, err = parseHeader(data); err != nil {
		_ = f.Close() // the header's problem is what the caller needs to see
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return f, nil
}

// Parse reads a whole file that is already in memory, under the same checks as Open. The tensors
// point into data.
func Parse(data []byte) (*File, error) {
	head, err := parseHeader(data)
	if err != nil {
		return nil, fmt.Errorf("read safetensors: %w", err)
	}
	return &File{path: "memory", data: data, head: head}, nil
}

// mapFile returns the content of a regular file as a private read-only mapping.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if st.Size() < lengthBytes {
		return nil, fmt.Errorf("the file has %d bytes, too few for a safetensors header", st.Size())
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map into memory: %w", err)
	}
	return data, nil
}

// Path returns the path that the file was opened by.
func (f *File) Path() string { return f.path }

// Names returns the names of all tensors, sorted.
func (f *File) Names() []string { return slices.Clone(f.head.names) }

// Metadata returns the free-form strings of the header; PEFT writes {"format": "pt"}.
func (f *File) Metadata() map[string]string { return maps.Clone(f.head.metadata) }

// Info returns type and shape of a tensor, and whether the file has it.
func (f *File) Info(name string) (Info, bool) {
	e, ok := f.head.tensors[name]
	if !ok {
		return Info{}, false
	}
	return Info{DType: e.info.DType, Shape: slices.Clone(e.info.Shape)}, true
}

// Bytes returns the little-endian bytes of a tensor, or nil if there is none of that name. They lie in
// the mapping: they must not be written to, nor used after Close.
func (f *File) Bytes(name string) []byte {
	e, ok := f.head.tensors[name]
	if !ok {
		return nil
	}
	return f.data[e.begin:e.end:e.end]
}

// Float32 returns a tensor of type F32, F16 or BF16 as a new slice of float32, row-major. Every value
// is exact. Other types are an error.
func (f *File) Float32(name string) ([]float32, error) {
	e, ok := f.head.tensors[name]
	if !ok {
		return nil, fmt.Errorf("%s has no tensor %q", f.path, name)
	}
	out, err := DecodeFloat32(e.info.DType, f.data[e.begin:e.end])
	if err != nil {
		return nil, fmt.Errorf("tensor %q of %s: %w", name, f.path, err)
	}
	return out, nil
}

// Close releases the mapping. It may be called more than once.
func (f *File) Close() error {
	data := f.data
	f.data = nil
	if data == nil || !f.mapped {
		return nil
	}
	if err := syscall.Munmap(data); err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}
