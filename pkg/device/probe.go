package device

import (
	"fmt"
	"math"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
)

// probeSize is the side of the square matrices of [Probe]: large enough to reach the speed of real layers, small
// enough for pure Go without vector instructions to answer in a second.
const probeSize = 512

// ProbeResult is what [Probe] measured.
type ProbeResult struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// OK says that the device opened and that its numbers are right; Error says why not.
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	// GFLOPS is the speed of a [512,512]×[512,512] f32 matmul, best of several, transfers excluded.
	GFLOPS float64 `json:"gflops,omitempty"`
	// BF16GFLOPS is that of bf16 matrices with a f32 product, 0 on devices that do not use them. Both are computed as training does it.
	BF16GFLOPS float64 `json:"bf16_gflops,omitempty"`
}

// Probe opens the device of the given kind, multiplies two matrices on it, checks the product and measures the
// speed. It reports a failure in the result instead of returning it, since a doctor goes on to the next device.
func Probe(kind string) ProbeResult {
	d, err := Open(kind)
	if err != nil {
		return ProbeResult{Kind: kind, Error: err.Error()}
	}
	r := ProbeResult{Kind: d.Kind(), Name: d.Name()}
	r.GFLOPS, err = d.probe(dtypes.Float32)
	if err == nil && d.kind != Go {
		r.BF16GFLOPS, err = d.probe(dtypes.BFloat16)
	}
	if err != nil {
		r.Error = fmt.Sprintf("device %s opens but does not compute: %v; delete %s and run `make setup`", kind, err, d.plugin)
		return r
	}
	r.OK = true
	return r
}

func (d *Device) probe(dtype dtypes.DType) (gflops float64, err error) {
	const n = probeSize
	shape := shapes.Make(dtype, n, n)
	builder := Fastest(d.backend).Builder("probe")
	main := builder.Main()
	x, err := main.Parameter("x", shape, nil)
	if err != nil {
		return 0, err
	}
	y, err := main.Parameter("y", shape, nil)
	if err != nil {
		return 0, err
	}
	product, err := main.DotGeneral(x, []int{1}, nil, y, []int{1}, nil, compute.DotGeneralConfig{OutputDType: dtypes.Float32})
	if err != nil {
		return 0, err
	}
	if err := main.Return([]compute.Value{product}, nil); err != nil {
		return 0, err
	}
	exec, err := builder.Compile()
	if err != nil {
		return 0, err
	}
	defer exec.Finalize()

	// x[i,k] = i mod 128 + 1 and y[j,k] = k mod 3 − 1 give product[i,j] = (i mod 128 + 1)·Σ(k mod 3 − 1); all
	// factors are exact in bf16, and all sums in f32.
	a, b := make([]float32, n*n), make([]float32, n*n)
	var sum float32
	for k := range n {
		for i := range n {
			a[i*n+k] = float32(i%128 + 1)
			b[i*n+k] = float32(k%3) - 1
		}
		sum += float32(k%3) - 1
	}
	inputs, err := d.upload(shape, a, b)
	if err != nil {
		return 0, err
	}
	best := math.Inf(1)
	for start := time.Now(); time.Since(start) < 150*time.Millisecond; {
		seconds, c, err := d.timed(exec, inputs, n*n)
		if err != nil {
			return 0, err
		}
		for i := range n * n {
			if want := float32(i/n%128+1) * sum; c[i] != want {
				return 0, fmt.Errorf("matmul element %d is %g instead of %g", i, c[i], want)
			}
		}
		best = min(best, seconds)
	}
	for _, buffer := range inputs {
		if err := buffer.Finalize(); err != nil {
			return 0, err
		}
	}
	return 2 * n * n * n / best / 1e9, nil
}

// upload makes a buffer of the shape, f32 or bf16, for each of the flat arrays.
func (d *Device) upload(shape shapes.Shape, arrays ...[]float32) ([]compute.Buffer, error) {
	var buffers []compute.Buffer
	for _, array := range arrays {
		var flat any = array
		if shape.DType == dtypes.BFloat16 {
			flat = bfloat16.FromFloat32s(array...)
		}
		buffer, err := d.backend.BufferFromFlatData(0, flat, shape)
		if err != nil {
			return nil, err
		}
		buffers = append(buffers, buffer)
	}
	return buffers, nil
}

// timed runs the executable once and returns its seconds and its only output, of size values. The time includes
// reading the result back, which is what makes sure that the device has finished.
func (d *Device) timed(exec compute.Executable, inputs []compute.Buffer, size int) (float64, []float32, error) {
	result := make([]float32, size)
	start := time.Now()
	outputs, err := exec.Execute(inputs, nil, 0)
	if err != nil {
		return 0, nil, err
	}
	if err := outputs[0].ToFlatData(result); err != nil {
		return 0, nil, err
	}
	seconds := time.Since(start).Seconds()
	return seconds, result, outputs[0].Finalize()
}
