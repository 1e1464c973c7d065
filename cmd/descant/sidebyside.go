package main

import "strings"

// narrowest is how many columns a text needs to be read beside others.
const narrowest = 24

// sideBySide lays texts out in columns below their names; where width is too small, or 0, one stands below the other.
func sideBySide(names, texts []string, width int) string {
	var b strings.Builder
	each := (width+3)/len(texts) - 3
	if each < narrowest {
		for i, text := range texts {
			b.WriteString("── " + names[i] + "\n" + strings.TrimRight(text, "\n") + "\n")
		}
		return b.String()
	}
	cells, head, height := make([][]string, len(texts)), 0, 0
	for i, name := range names {
		cells[i] = wrap(name, each)
		head = max(head, len(cells[i]))
	}
	for i, text := range texts {
		for len(cells[i]) < head { // answers begin on one line, however long the names are
			cells[i] = append(cells[i], "")
		}
		cells[i] = append(cells[i], strings.Repeat("─", each))
		cells[i] = append(cells[i], wrap(strings.TrimRight(text, "\n"), each)...)
		height = max(height, len(cells[i]))
	}
	for row := range height {
		var line strings.Builder
		for i := range cells {
			cell := ""
			if row < len(cells[i]) {
				cell = cells[i][row]
			}
			if i > 0 {
				line.WriteString(" │ ")
			}
			line.WriteString(cell + strings.Repeat(" ", each-cellWidth(cell)))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// wrap breaks a text into lines of at most width columns, at a space where there is one.
func wrap(text string, width int) (lines []string) {
	for _, line := range strings.Split(strings.ReplaceAll(text, "\t", "    "), "\n") {
		rest := []rune(line)
		for cellWidth(string(rest)) > width {
			n, space := 0, 0
			for used := cellWidth(string(rest[:1])); used <= width; used += cellWidth(string(rest[n : n+1])) {
				if rest[n] == ' ' {
					space = n
				}
				n++
			}
			if space > 0 {
				lines = append(lines, string(rest[:space]))
				rest = rest[space+1:]
				continue
			}
			lines = append(lines, string(rest[:n]))
			rest = rest[n:]
		}
		lines = append(lines, string(rest))
	}
	return lines
}
