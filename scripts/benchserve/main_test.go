package main

import (
	"math"
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	start := time.Unix(100, 0)
	at := func(seconds ...float64) (times []time.Time) {
		for _, s := range seconds {
			times = append(times, start.Add(time.Duration(s*float64(time.Second))))
		}
		return times
	}
	for name, c := range map[string]struct {
		streams [][]time.Time
		want    measurement
	}{
		// From 2.5 s to 4 s both answer: with three tokens.
		"together": {[][]time.Time{at(1, 2, 3, 4), at(2.5, 3.5, 4.5)}, measurement{1.75, 2.5, 1, 7 / 4.5, 2}},
		"apart":    {[][]time.Time{at(1, 2), at(3, 4)}, measurement{2, 3, 1, 1, 0}},
		"one":      {[][]time.Time{at(0.5, 1, 1.5)}, measurement{0.5, 0.5, 0.5, 2, 2}},
	} {
		got := summarize(start, c.streams)
		for i, pair := range [][2]float64{{got.FirstToken, c.want.FirstToken}, {got.SlowestFirstToken, c.want.SlowestFirstToken},
			{got.BetweenTokens, c.want.BetweenTokens}, {got.TokensPerSecond, c.want.TokensPerSecond}, {got.Answering, c.want.Answering}} {
			if math.Abs(pair[0]-pair[1]) > 1e-9 {
				t.Errorf("%s: number %d is %g, want %g", name, i, pair[0], pair[1])
			}
		}
	}
}
