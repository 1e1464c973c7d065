package report

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot/plotter"
	"google.golang.org/protobuf/encoding/protowire"
)

// example is a run of n steps.
func example(n int) *Run {
	r := &Run{Name: "my-adapter", Warnings: []string{"1 rows <were> longer"},
		Summary:  []Fact{{Text{"steps", "步数"}, "60"}},
		Sections: []Section{{Text{"lineage", "来源"}, []Fact{{Text{"base", "基座模型"}, "sha256:0123"}}}}}
	start := time.Unix(1_700_000_000, 0)
	for i := 1; i <= n; i++ {
		at := start.Add(time.Duration(i) * time.Second)
		r.Points = append(r.Points, Point{Step: i, Time: at, Loss: 1 + 3/float64(i) + 0.2*math.Sin(float64(i)*7),
			LR: 2e-4 * float64(n-i) / float64(n), GradNorm: 1 + 0.5*math.Cos(float64(i)*3), TokensPerSecond: 300 + float64(i%9), Epoch: float64(i) / 20})
		if i%20 == 0 {
			r.Evals = append(r.Evals, Eval{Step: i, Time: at, Loss: 1.1 + 3/float64(i)})
		}
	}
	return r
}

func TestWrite(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*Run{"usual": example(60), "one step": example(1), "no step": example(0), "constant": {Name: "c", Points: []Point{{Step: 1}, {Step: 2}}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := r.Write(dir); err != nil {
				t.Fatal(err)
			}
			picture, err := os.Open(filepath.Join(dir, PictureFile))
			if err != nil {
				t.Fatal(err)
			}
			defer picture.Close()
			if config, err := png.DecodeConfig(picture); err != nil || config.Width < 1000 {
				t.Errorf("picture %+v, %v", config, err)
			}
			checkPage(t, filepath.Join(dir, PageFile), r)
		})
	}
}

// checkPage holds that the page is one file, says everything, and that its drawings follow its colours.
func checkPage(t *testing.T, path string, r *Run) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, outside := range regexp.MustCompile(`(src|href|url)\s*[=(]`).FindAllString(text, -1) {
		if !strings.HasPrefix(outside, "xlink:") {
			t.Errorf("the page asks for something else: %s", outside)
		}
	}
	wanted := []string{"损失", "learning rate"}
	for _, w := range r.Warnings {
		wanted = append(wanted, strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(w))
	}
	for _, s := range r.Sections {
		wanted = append(wanted, s.Title.Zh, s.Title.En, s.Facts[0].Value)
	}
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	drawings := regexp.MustCompile(`(?s)<svg .*?</svg>`).FindAllString(text, -1)
	if len(drawings) != 4 {
		t.Fatalf("%d drawings", len(drawings))
	}
	for i, drawing := range drawings {
		for decoder := xml.NewDecoder(strings.NewReader(drawing)); ; {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("drawing %d: %v", i, err)
			}
		}
		if len(r.Points) > 1 && !strings.Contains(drawing, "var(--strong)") {
			t.Errorf("drawing %d has no line in the colour of the page", i)
		}
		if fixed := regexp.MustCompile(`#[0-9A-F]{6}`).FindString(drawing); fixed != "" {
			t.Errorf("drawing %d has the fixed colour %s", i, fixed)
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	var h History
	for _, p := range []Point{{Step: 1, Loss: 4}, {Step: 2, Loss: 3}, {Step: 3, Loss: 99}, {Step: 3, Loss: 2}, {Step: 4, Loss: 1}} {
		h.Add(p)
	}
	h.AddEval(Eval{Step: 4, Loss: 2})
	h.AddEval(Eval{Step: 2, Loss: 3})
	if got, want := h.Points(), []Point{{Step: 1, Loss: 4}, {Step: 2, Loss: 3}, {Step: 3, Loss: 2}, {Step: 4, Loss: 1}}; !reflect.DeepEqual(got, want) {
		t.Errorf("points %v, expected %v", got, want)
	}
	if got, want := h.Evals(), []Eval{{Step: 2, Loss: 3}, {Step: 4, Loss: 2}}; !reflect.DeepEqual(got, want) {
		t.Errorf("evaluations %v, expected %v", got, want)
	}
}

// TestThin looks for a spike of one step in a long line.
func TestThin(t *testing.T) {
	t.Parallel()
	long := make(plotter.XYs, 100_000)
	for i := range long {
		long[i] = plotter.XY{X: float64(i), Y: 1}
	}
	long[54_321].Y = 7
	drawn := thin(long)
	if len(drawn) > mostDrawn {
		t.Errorf("%d points are drawn", len(drawn))
	}
	found := false
	for i, p := range drawn {
		found = found || p == long[54_321]
		if i > 0 && p.X <= drawn[i-1].X {
			t.Fatalf("point %d is out of order", i)
		}
	}
	if !found {
		t.Error("the spike is lost")
	}
}

func TestSmooth(t *testing.T) {
	t.Parallel()
	got := smooth(plotter.XYs{{X: 1, Y: 3}, {X: 2, Y: 6}})
	// A third of each value goes into the mean: (2/3·1/3·3 + 1/3·6) / (2/3·1/3 + 1/3).
	if got[0].Y != 3 || math.Abs(got[1].Y-4.8) > 1e-12 {
		t.Errorf("smoothed %v, expected 3 and 4.8", got)
	}
}

func TestTicks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		low, high, least float64
		want             string
	}{{0, 200, 1, "0 50 100 150 200"}, {1, 3, 1, "1 2 3"}, {0, 2e-4, 0, "0 5e-5 1e-4 1.5e-4 2e-4"}, {0.31, 4.13, 0, "1 2 3 4"}, {5, 5, 0, ""}} {
		var labels []string
		for _, tick := range ticks(c.low, c.high, c.least) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("ticks from %g to %g: %s, expected %s", c.low, c.high, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 1.23456: "1.235", 2e-4: "2e-4", 123456: "1.235e5", 0.001: "0.001", -5: "-5", 1.5e-10: "1.5e-10"} {
		if got := number(v); got != want {
			t.Errorf("number(%g) = %s, expected %s", v, got, want)
		}
	}
}

// record is one event of a file, read back.
type record struct {
	step    int
	time    float64
	version string
	scalars map[string]float32
}

func TestEventFile(t *testing.T) {
	t.Parallel()
	r := example(41)
	made := time.Unix(1_700_000_000, 0)
	dir, name := filepath.Join(t.TempDir(), "runs"), EventFileName(made, "ft-1")
	if name != "events.out.tfevents.1700000000.ft-1" {
		t.Errorf("name %s", name)
	}
	if err := r.WriteEventFile(dir, name, made); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	records := readRecords(t, data)
	if len(records) != 1+41+2 || records[0].version != "brain.Event:2" {
		t.Fatalf("%d records, the first %+v", len(records), records[0])
	}
	p := r.Points[0]
	want := record{step: 1, time: 1_700_000_001, scalars: map[string]float32{"train/loss": float32(p.Loss), "train/learning_rate": float32(p.LR),
		"train/grad_norm": float32(p.GradNorm), "train/epoch": 0.05, "train/tokens_per_second": 301}}
	if !reflect.DeepEqual(records[1], want) {
		t.Errorf("first step %+v, expected %+v", records[1], want)
	}
	if got := records[21]; got.step != 20 || got.scalars["eval/loss"] != float32(r.Evals[0].Loss) {
		t.Errorf("after step 20 came %+v, expected its evaluation", got)
	}
}

// readRecords reads the record format and checks both checksums, after the one whose crc32c is published, 0xe3069283.
func readRecords(t *testing.T, data []byte) (list []record) {
	t.Helper()
	if got := masked([]byte("123456789")); got != 0xc78ab0e5 {
		t.Fatalf("masked crc32c is %#x", got)
	}
	for in := bytes.NewReader(data); in.Len() > 0; {
		head := make([]byte, 12)
		if _, err := io.ReadFull(in, head); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, binary.LittleEndian.Uint64(head)+4)
		if _, err := io.ReadFull(in, body); err != nil {
			t.Fatal(err)
		}
		event := body[:len(body)-4]
		if masked(head[:8]) != binary.LittleEndian.Uint32(head[8:]) || masked(event) != binary.LittleEndian.Uint32(body[len(event):]) {
			t.Fatalf("record %d has a wrong checksum", len(list))
		}
		list = append(list, readEvent(t, event))
	}
	return list
}

func readEvent(t *testing.T, data []byte) (r record) {
	t.Helper()
	for _, f := range fields(t, data) {
		switch f.number {
		case 1:
			r.time = math.Float64frombits(f.fixed)
		case 2:
			r.step = int(f.fixed)
		case 3:
			r.version = string(f.bytes)
		case 5:
			r.scalars = map[string]float32{}
			for _, value := range fields(t, f.bytes) {
				parts := fields(t, value.bytes)
				r.scalars[string(parts[0].bytes)] = math.Float32frombits(uint32(parts[1].fixed))
			}
		}
	}
	return r
}

type wireField struct {
	number protowire.Number
	fixed  uint64
	bytes  []byte
}

func fields(t *testing.T, data []byte) (list []wireField) {
	t.Helper()
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		data = data[n:]
		f := wireField{number: number}
		switch kind {
		case protowire.VarintType:
			f.fixed, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			f.fixed = uint64(v)
		case protowire.Fixed64Type:
			f.fixed, n = protowire.ConsumeFixed64(data)
		default:
			f.bytes, n = protowire.ConsumeBytes(data)
		}
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		data = data[n:]
		list = append(list, f)
	}
	return list
}
