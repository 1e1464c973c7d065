package model

// llama reads what Llama 2 and 3, and Yi in their layout, have of their own: switches for the biases of attention and
// MLP. The scaled ropes (linear, dynamic, llama3) are read for all families alike.
func llama(r *reader, c *Config) {
	c.QKVBias = r.boolean("attention_bias")
	c.OutBias = c.QKVBias
	c.MLPBias = r.boolean("mlp_bias")
}
