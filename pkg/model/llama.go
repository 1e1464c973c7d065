package model

// llama reads what Llama has of its own: switches for the biases of attention and MLP. Llama 3's scaled rope
// is read with the other kinds of rope.
func llama(r *reader, c *Config) {
	c.QKVBias = r.boolean("attention_bias", false)
	c.OutBias = c.QKVBias
	c.MLPBias = r.boolean("mlp_bias", false)
}
