package lifecycle

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the numbers of one process, served on /metrics. Names follow
// Prometheus: descant_steps_total, descant_queue_seconds.
type Metrics struct{ registry *prometheus.Registry }

// NewMetrics starts with the numbers of the Go runtime and the process.
func NewMetrics() *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Metrics{r}
}

// Register adds numbers that are read when they are asked for.
func (m *Metrics) Register(c prometheus.Collector) error { return m.registry.Register(c) }

// Handler serves the numbers to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Counter is a number that only grows, one for each combination of labels.
type Counter struct{ v *prometheus.CounterVec }

// Gauge is a number that goes up and down.
type Gauge struct{ v *prometheus.GaugeVec }

// Histogram counts observations in buckets.
type Histogram struct{ v *prometheus.HistogramVec }

// Counter adds a counter. A name that is there already, with the same labels,
// gives the same counter: services of one process share their numbers.
func (m *Metrics) Counter(name, help string, labels ...string) Counter {
	return Counter{register(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))}
}

// Gauge adds a gauge, or gives the one of that name.
func (m *Metrics) Gauge(name, help string, labels ...string) Gauge {
	return Gauge{register(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))}
}

// Histogram adds a histogram with upper bounds of its buckets, or gives the one
// of that name.
func (m *Metrics) Histogram(name, help string, buckets []float64, labels ...string) Histogram {
	opts := prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}
	return Histogram{register(m, prometheus.NewHistogramVec(opts, labels))}
}

// register panics on a bad name or on one name with two meanings: both are
// mistakes of the programmer that show at the first start.
func register[C prometheus.Collector](m *Metrics, c C) C {
	err := m.registry.Register(c)
	if there := (prometheus.AlreadyRegisteredError{}); errors.As(err, &there) {
		return there.ExistingCollector.(C)
	}
	if err != nil {
		panic("metrics: " + err.Error())
	}
	return c
}

// Add adds x, at least 0, to the counter of the label values.
func (c Counter) Add(x float64, values ...string) { c.v.WithLabelValues(values...).Add(x) }

// Set sets the gauge of the label values.
func (g Gauge) Set(x float64, values ...string) { g.v.WithLabelValues(values...).Set(x) }

// Add adds x to the gauge of the label values.
func (g Gauge) Add(x float64, values ...string) { g.v.WithLabelValues(values...).Add(x) }

// Observe counts x in the histogram of the label values.
func (h Histogram) Observe(x float64, values ...string) { h.v.WithLabelValues(values...).Observe(x) }
