package gguf

import (
	"encoding/binary"
	"math"

	"descant/pkg/safetensors"
)

// A block of Q8_0 is 32 elements in 34 bytes.
const (
	q8Block = 32
	q8Bytes = 2 + q8Block
)

// appendQ8 appends values as blocks of Q8_0, rounded as quantize_row_q8_0_ref of ggml does: the scale d = max|x|/127 in
// float16, then for each element x/d (with d as it was before float16) as a signed byte, halves away from zero.
func appendQ8(to []byte, values []float32) []byte {
	for at := 0; at < len(values); at += q8Block {
		block := values[at : at+q8Block]
		var largest float32
		for _, v := range block {
			largest = max(largest, float32(math.Abs(float64(v))))
		}
		d := largest / 127
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		to = binary.LittleEndian.AppendUint16(to, safetensors.Float32ToHalf(d))
		for _, v := range block {
			to = append(to, byte(int8(math.Round(float64(v*inverse)))))
		}
	}
	return to
}
