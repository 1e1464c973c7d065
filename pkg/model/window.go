package model

// Kinds of attention in layer_types.
const (
	fullAttention    = "full_attention"
	slidingAttention = "sliding_attention"
)

// slide gives the layers from first on a sliding window.
func (c *Config) slide(window, first int) {
	c.Windows = make([]int, c.Layers)
	for i := max(0, first); i < c.Layers; i++ {
		c.Windows[i] = window
	}
}

// qwenWindow reads the sliding window of Qwen2 and Qwen3. It is off unless use_sliding_window is set, and then holds
// for the layers that layer_types names or, without that list, for those from max_window_layers on
// (configuration_qwen2.py).
func qwenWindow(r *reader, c *Config) {
	if !r.boolean("use_sliding_window") {
		return
	}
	window := r.integer("sliding_window", 4096)
	if r.has("sliding_window") && r.fields["sliding_window"] == nil {
		return
	}
	if window < 1 {
		r.problem("sliding_window %d is not above 0", window)
		return
	}
	types := field(r, "layer_types", "a list", []any(nil))
	if types == nil {
		c.slide(window, r.integer("max_window_layers", 28))
		return
	}
	c.slide(window, c.Layers)
	for i, kind := range types[:min(len(types), c.Layers)] {
		if kind == slidingAttention {
			c.Windows[i] = window
		}
	}
}

// checkLayerTypes refuses a list of layer_types that does not say what the configuration came to.
func (r *reader) checkLayerTypes(c *Config) {
	types := field(r, "layer_types", "a list", []any(nil))
	if types == nil {
		return
	}
	if len(types) != c.Layers {
		r.problem("layer_types names %d layers, num_hidden_layers is %d", len(types), c.Layers)
		return
	}
	for i, kind := range types {
		want := fullAttention
		if c.Window(i) > 0 {
			want = slidingAttention
		}
		switch {
		case kind != fullAttention && kind != slidingAttention:
			r.problem("layer_types holds %v (supported: %s, %s)", kind, fullAttention, slidingAttention)
			return
		case kind != want:
			r.problem("layer_types says %v for layer %d, but the other fields make it %s: for a sliding window set "+
				"sliding_window (and use_sliding_window where the family has it)", kind, i, want)
			return
		}
	}
}
