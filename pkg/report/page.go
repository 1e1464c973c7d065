package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
)

// Names of the files of a report.
const (
	PageFile    = "report.html"
	PictureFile = "report.png"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// figure is a plot as the page shows it.
type figure struct {
	Title   Text
	Caption string
	Legend  []legend
	SVG     template.HTML
}

// legend is the name of a line and its colour, a variable of the style sheet.
type legend struct {
	Name  Text
	Color template.CSS
}

// html is the page: one file that asks for no other.
func (r *Run) html() ([]byte, error) {
	data := struct {
		*Run
		Plots []figure
	}{Run: r}
	for _, p := range r.panels() {
		svg, err := p.svg()
		if err != nil {
			return nil, err
		}
		// The drawing is made of numbers alone.
		drawn := figure{Title: p.title, Caption: p.caption(), SVG: template.HTML(svg)}
		if len(p.series) > 1 {
			for _, s := range p.series {
				drawn.Legend = append(drawn.Legend, legend{s.name, template.CSS("var(" + variables[s.color] + ")")})
			}
		}
		data.Plots = append(data.Plots, drawn)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Write writes the page and the picture of a run into a folder.
func (r *Run) Write(dir string) error {
	for name, make := range map[string]func() ([]byte, error){PageFile: r.html, PictureFile: r.png} {
		data, err := make()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write report of %s: %w", r.Name, err)
		}
	}
	return nil
}
