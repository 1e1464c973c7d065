package model

// qwen2 reads what Qwen2 and Qwen2.5 have of their own: biases on q, k and v (not configurable), and a sliding
// window that may hold for some layers.
func qwen2(r *reader, c *Config) {
	c.QKVBias = true
	qwenKVHeads(r, c)
	qwenWindow(r, c)
}

// qwenKVHeads is the default of Qwen2 and Qwen3: 32 where the field is missing, as many as heads where it is null.
func qwenKVHeads(r *reader, c *Config) {
	if !r.has("num_key_value_heads") {
		c.KVHeads = 32
	}
}
