package model

// mistral reads what Mistral has of its own: a sliding window that is in use whenever it is set.
func mistral(r *reader, c *Config) {
	if window := r.integer("sliding_window", 0); window > 0 && window < c.MaxPositions {
		r.problem("sliding_window %d is set; only full attention is supported", window)
	}
}
