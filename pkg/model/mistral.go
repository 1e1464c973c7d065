package model

// mistral reads what Mistral has of its own: a sliding window in every layer. As in configuration_mistral.py it is
// 4096 where the field is missing, and off where it is null; so is the default of 8 key/value heads.
func mistral(r *reader, c *Config) {
	if !r.has("num_key_value_heads") {
		c.KVHeads = 8
	}
	if r.has("sliding_window") && r.fields["sliding_window"] == nil {
		return
	}
	window := r.integer("sliding_window", 4096)
	if window < 1 {
		r.problem("sliding_window %d is not above 0", window)
		return
	}
	c.slide(window, 0)
}
