// Package report shows a training run after the fact: one HTML page that needs nothing else, a PNG of the same
// plots, and event files for TensorBoard. It draws what it is given and knows neither jobs nor models.
package report
