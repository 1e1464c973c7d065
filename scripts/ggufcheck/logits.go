package main

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"descant/pkg/safetensors"
)

// logits reads the right-padded rows of a parity case and their logits with the adapter.
func logits(dir string, vocab int) ([]row, error) {
	forward, err := safetensors.Open(filepath.Join(dir, "forward.safetensors"))
	if err != nil {
		return nil, err
	}
	defer forward.Close()
	adapted, err := safetensors.Open(filepath.Join(dir, "adapter_forward.safetensors"))
	if err != nil {
		return nil, err
	}
	defer adapted.Close()
	info, ok := forward.Info("right.input_ids")
	if !ok || len(info.Shape) != 2 {
		return nil, fmt.Errorf("%s has no right.input_ids", dir)
	}
	values, err := adapted.Float32("right.logits")
	if err != nil {
		return nil, err
	}
	ids, mask := forward.Bytes("right.input_ids"), forward.Bytes("right.attention_mask")
	rows, width := info.Shape[0], info.Shape[1]
	if len(mask) != len(ids) || len(values) != rows*width*vocab {
		return nil, fmt.Errorf("%s: ids, mask and logits do not fit", dir)
	}
	list := make([]row, rows)
	for i := range rows * width {
		if binary.LittleEndian.Uint64(mask[8*i:]) == 0 {
			continue
		}
		r := &list[i/width]
		r.IDs = append(r.IDs, int64(binary.LittleEndian.Uint64(ids[8*i:])))
		r.Logits = append(r.Logits, values[i*vocab:(i+1)*vocab])
	}
	return list, nil
}
