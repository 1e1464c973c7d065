package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// DecodeFloat32 converts little-endian F32, F16 or BF16 bytes to float32. The conversion is exact;
// infinities stay, a NaN stays a NaN with its payload. Other types are an error.
func DecodeFloat32(d DType, data []byte) ([]float32, error) {
	size := d.Size()
	if size == 0 || len(data)%size != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of %s values", len(data), d)
	}
	out := make([]float32, len(data)/size)
	switch d {
	case F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case BF16:
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(data[2*i:])) << 16)
		}
	case F16:
		for i := range out {
			out[i] = HalfToFloat32(binary.LittleEndian.Uint16(data[2*i:]))
		}
	default:
		return nil, fmt.Errorf("type %s does not convert to float32 exactly; F32, F16 and BF16 do", d)
	}
	return out, nil
}

// EncodeFloat32 converts float32 values to the little-endian bytes of F32, BF16 or F16, rounding to
// nearest with ties to even. Values beyond the range of F16 become infinite. Other types are an error.
func EncodeFloat32(d DType, values []float32) ([]byte, error) {
	switch d {
	case F32:
		out := make([]byte, 4*len(values))
		for i, v := range values {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
		}
		return out, nil
	case BF16:
		out := make([]byte, 2*len(values))
		for i, v := range values {
			binary.LittleEndian.PutUint16(out[2*i:], Float32ToBFloat16(v))
		}
		return out, nil
	case F16:
		out := make([]byte, 2*len(values))
		for i, v := range values {
			binary.LittleEndian.PutUint16(out[2*i:], Float32ToHalf(v))
		}
		return out, nil
	}
	return nil, fmt.Errorf("float32 values cannot be written as %s; F32, F16 and BF16 are possible", d)
}

// Float32ToBFloat16 rounds to the nearest bfloat16, ties to even. A NaN becomes a quiet NaN of its
// sign: cutting its low bits off could turn it into an infinity.
func Float32ToBFloat16(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// HalfToFloat32 converts an IEEE 754 binary16 value exactly.
func HalfToFloat32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent := uint32(h>>10) & 0x1f
	fraction := uint32(h & 0x3ff)
	switch {
	case exponent == 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	case exponent != 0:
		return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
	}
	// Zero or subnormal: fraction counts units of 2^-24, which float32 holds exactly.
	value := float32(fraction) * (1.0 / (1 << 24))
	return math.Float32frombits(sign | math.Float32bits(value))
}

// Float32ToHalf rounds to the nearest IEEE 754 binary16, ties to even.
func Float32ToHalf(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits>>16) & 0x8000
	abs := bits & 0x7fffffff
	switch {
	case abs > 0x7f800000: // NaN: keep it quiet, with the top of its payload
		return sign | 0x7e00 | uint16(abs>>13)&0x3ff
	case abs >= 0x477ff000: // 65520 and beyond round to infinity
		return sign | 0x7c00
	case abs >= 0x38800000: // normal: rebias the exponent, round the 13 bits that go
		rebased := abs - (127-15)<<23
		return sign | uint16((rebased+0xfff+rebased>>13&1)>>13)
	case abs < 0x33000000: // below 2^-25 everything rounds to zero
		return sign
	}
	// Subnormal: express the value in units of 2^-24.
	exponent := abs >> 23
	fraction := abs&0x7fffff | 0x800000
	shift := 126 - exponent // 14 for 2^-14·x … 24 for 2^-25·x
	half := uint32(1) << (shift - 1)
	units := fraction >> shift
	rest := fraction & (1<<shift - 1)
	if rest > half || rest == half && units&1 == 1 {
		units++
	}
	return sign | uint16(units)
}
