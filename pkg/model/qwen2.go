package model

// qwen2 reads what Qwen2 and Qwen2.5 have of their own: biases on q, k and v (not configurable).
func qwen2(_ *reader, c *Config) { c.QKVBias = true }
