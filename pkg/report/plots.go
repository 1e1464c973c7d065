package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours of the PNG. In the page each becomes a variable of the style sheet, which knows light and dark.
var (
	paper  = color.NRGBA{0xfd, 0xfd, 0xfe, 0xff}
	ink    = color.NRGBA{0x2b, 0x2f, 0x36, 0xff}
	lines  = color.NRGBA{0xe1, 0xe4, 0xe9, 0xff}
	faint  = color.NRGBA{0xa9, 0xc6, 0xea, 0xff}
	strong = color.NRGBA{0x1c, 0x64, 0xb8, 0xff}
	accent = color.NRGBA{0xd2, 0x5f, 0x0f, 0xff}
)

// variables are the names of the colours in the style sheet.
var variables = map[color.NRGBA]string{
	paper: "--paper", ink: "--ink", lines: "--lines", faint: "--faint", strong: "--strong", accent: "--accent",
}

// panel is one plot: a quantity over the steps.
type panel struct {
	title  Text
	series []series
}

// series is one line of a panel.
type series struct {
	name    Text
	color   color.NRGBA
	points  plotter.XYs
	markers bool
}

// panels are the plots of a run: loss with its smoothed curve and the evaluations, learning rate, gradient norm, speed.
func (r *Run) panels() []panel {
	of := func(value func(Point) float64) plotter.XYs {
		var xys plotter.XYs
		for _, p := range r.Points {
			if v := value(p); !math.IsNaN(v) && !math.IsInf(v, 0) {
				xys = append(xys, plotter.XY{X: float64(p.Step), Y: v})
			}
		}
		return xys
	}
	losses := of(func(p Point) float64 { return p.Loss })
	loss := panel{title: Text{"loss", "损失"}}
	if len(losses) < enoughToSmooth {
		loss.add(Text{"training", "训练"}, strong, losses)
	} else {
		loss.add(Text{"training", "训练"}, faint, losses)
		loss.add(Text{"smoothed", "平滑"}, strong, smooth(losses))
	}
	if len(r.Evals) > 0 {
		var evals plotter.XYs
		for _, e := range r.Evals {
			evals = append(evals, plotter.XY{X: float64(e.Step), Y: e.Loss})
		}
		loss.series = append(loss.series, series{Text{"evaluation", "评估"}, accent, evals, true})
	}
	rate, norm, speed := panel{title: Text{"learning rate", "学习率"}}, panel{title: Text{"gradient norm", "梯度范数"}}, panel{title: Text{"tokens/s", "每秒词元数"}}
	rate.add(rate.title, strong, of(func(p Point) float64 { return p.LR }))
	norm.add(norm.title, strong, of(func(p Point) float64 { return p.GradNorm }))
	speed.add(speed.title, strong, of(func(p Point) float64 { return p.TokensPerSecond }))
	return []panel{loss, rate, norm, speed}
}

func (p *panel) add(name Text, c color.NRGBA, points plotter.XYs) {
	p.series = append(p.series, series{name: name, color: c, points: points, markers: len(points) == 1})
}

// caption says where the first series of the panel begins, ends and is lowest.
func (p panel) caption() string {
	xys := p.series[0].points
	if len(xys) == 0 {
		return ""
	}
	return fmt.Sprintf("%s → %s", number(xys[0].Y), number(xys[len(xys)-1].Y))
}

// enoughToSmooth is the number of steps from which on a smoothed curve says more.
const enoughToSmooth = 20

// smooth is the exponential moving average over about a twentieth of the run, corrected for its start as Adam's moments
// are.
func smooth(xys plotter.XYs) plotter.XYs {
	keep := 1 - 1/max(3, float64(len(xys))/20)
	out := make(plotter.XYs, len(xys))
	mean, weight := 0.0, 0.0
	for i, p := range xys {
		mean, weight = keep*mean+(1-keep)*p.Y, keep*weight+1-keep
		out[i] = plotter.XY{X: p.X, Y: mean / weight}
	}
	return out
}

// mostDrawn bounds the points of a drawn line.
const mostDrawn = 1200

// thin keeps the lowest and the highest point of every stretch of a long line: no spike is lost.
func thin(xys plotter.XYs) plotter.XYs {
	if len(xys) <= mostDrawn {
		return xys
	}
	var out plotter.XYs
	const stretches = mostDrawn / 2
	for i := range stretches {
		part := xys[i*len(xys)/stretches : (i+1)*len(xys)/stretches]
		low, high := 0, 0
		for k, p := range part {
			if p.Y < part[low].Y {
				low = k
			}
			if p.Y > part[high].Y {
				high = k
			}
		}
		out = append(out, part[min(low, high)])
		if low != high {
			out = append(out, part[max(low, high)])
		}
	}
	return out
}

// sans is the font of the PNG; the page has its own.
func sans(size float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
}

// plot draws a panel; in the page title and legend stand outside.
func (p panel) plot(titled bool) (*plot.Plot, error) {
	out := plot.New()
	out.BackgroundColor = paper
	if titled {
		out.Title.Text = p.title.En
		out.Title.TextStyle = text.Style{Font: sans(13), Color: ink, XAlign: draw.XCenter, YAlign: draw.YTop, Handler: out.TextHandler}
		out.Title.Padding = vg.Points(8)
	}
	for _, axis := range []*plot.Axis{&out.X, &out.Y} {
		axis.Color, axis.Tick.Color = lines, lines
		axis.Tick.Label.Color, axis.Tick.Label.Font = ink, sans(10)
		axis.Padding = vg.Points(4)
	}
	out.X.Tick.Marker = plot.TickerFunc(steps)
	out.Y.Tick.Marker = plot.TickerFunc(values)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, lines
	out.Add(grid)
	out.Legend.Top, out.Legend.Padding = true, vg.Points(3)
	out.Legend.TextStyle.Font, out.Legend.TextStyle.Color = sans(10), ink
	for _, s := range p.series {
		if len(s.points) == 0 {
			continue
		}
		if err := s.draw(out, titled && len(p.series) > 1); err != nil {
			return nil, fmt.Errorf("plot %s: %w", p.title.En, err)
		}
	}
	if out.Y.Min == out.Y.Max { // a constant
		out.Y.Min, out.Y.Max = out.Y.Min-math.Abs(out.Y.Min)/2, out.Y.Max+math.Abs(out.Y.Max)/2
	}
	return out, nil
}

func (s series) draw(out *plot.Plot, named bool) error {
	line, err := plotter.NewLine(thin(s.points))
	if err != nil {
		return err
	}
	line.Color, line.Width = s.color, vg.Points(1.4)
	out.Add(line)
	thumbs := []plot.Thumbnailer{line}
	if s.markers {
		dots, err := plotter.NewScatter(thin(s.points))
		if err != nil {
			return err
		}
		dots.Color, dots.Radius, dots.Shape = s.color, vg.Points(2.5), draw.CircleGlyph{}
		out.Add(dots)
		thumbs = append(thumbs, dots)
	}
	if named {
		out.Legend.Add(s.name.En, thumbs...)
	}
	return nil
}

// ticks are about five round values: multiples of 1, 2 or 5 times a power of ten, and of at least least.
func ticks(low, high, least float64) (list []plot.Tick) {
	rough := (high - low) / 5
	if !(rough > 0) || math.IsInf(rough, 0) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, factor := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if step < rough {
			step *= factor
		}
	}
	step = max(step, least)
	for k := math.Ceil(low / step); k*step <= high; k++ {
		list = append(list, plot.Tick{Value: k * step, Label: number(k * step)})
	}
	return list
}

// steps are ticks at whole numbers: there is no step 1.5.
func steps(low, high float64) []plot.Tick { return ticks(low, high, 1) }

// values are ticks anywhere.
func values(low, high float64) []plot.Tick { return ticks(low, high, 0) }

// number writes a value with at most four digits that count.
func number(v float64) string {
	if a := math.Abs(v); a != 0 && (a < 1e-3 || a >= 1e5) {
		mantissa, exponent, _ := strings.Cut(fmt.Sprintf("%.3e", v), "e")
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
		sign := strings.TrimPrefix(exponent[:1], "+")
		return mantissa + "e" + sign + strings.TrimLeft(exponent[1:], "0")
	}
	return fmt.Sprintf("%.4g", v)
}

// The size of one plot.
const (
	plotWidth  = 6 * vg.Inch
	plotHeight = 3.2 * vg.Inch
)

// png draws all panels into one picture, two in a row.
func (r *Run) png() ([]byte, error) {
	const titleHeight = 0.45 * vg.Inch
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(2*plotWidth, 2*plotHeight+titleHeight), vgimg.UseDPI(110), vgimg.UseBackgroundColor(paper))}
	whole := draw.New(canvas)
	style := text.Style{Font: sans(16), Color: ink, XAlign: draw.XLeft, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
	whole.FillText(style, vg.Point{X: vg.Points(14), Y: whole.Max.Y - titleHeight/2}, r.Name)
	tiles := draw.Tiles{Rows: 2, Cols: 2, PadX: vg.Points(16), PadY: vg.Points(14), PadLeft: vg.Points(12), PadRight: vg.Points(14), PadBottom: vg.Points(8)}
	below := draw.Crop(whole, 0, 0, 0, -titleHeight)
	for i, p := range r.panels() {
		drawn, err := p.plot(true)
		if err != nil {
			return nil, err
		}
		drawn.Draw(tiles.At(below, i%2, i/2))
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("write PNG: %w", err)
	}
	return out.Bytes(), nil
}

// svg draws a panel for the page: its colours are variables, its size is that of its place.
func (p panel) svg() (string, error) {
	drawn, err := p.plot(false)
	if err != nil {
		return "", err
	}
	canvas := vgsvg.New(plotWidth, plotHeight)
	drawn.Draw(draw.Crop(draw.New(canvas), vg.Points(2), -vg.Points(14), 0, 0)) // room for the last number
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return "", fmt.Errorf("write SVG: %w", err)
	}
	_, body, found := strings.Cut(out.String(), "<svg ")
	if !found {
		return "", errors.New("write SVG: no svg element in what was drawn")
	}
	body = "<svg " + body
	for c, name := range variables {
		body = strings.ReplaceAll(body, fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B), "var("+name+")")
	}
	return body, nil
}
