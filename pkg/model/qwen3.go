package model

// qwen3 reads what Qwen3 has of its own: an RMSNorm on every query and key head, a head width that does not
// follow from the hidden width, a switch for the biases of attention, and a sliding window as in Qwen2.
func qwen3(r *reader, c *Config) {
	c.QKNorm = true
	c.HeadDim = r.integer("head_dim", 128)
	c.QKVBias = r.boolean("attention_bias")
	c.OutBias = c.QKVBias
	qwenKVHeads(r, c)
	qwenWindow(r, c)
}
