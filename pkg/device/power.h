// The exponential function.

// power is e to each x ≤ 0: 2 to a whole number, and a series for what is left of it, at most ln 2/2; good to the last bit or two.
INLINE vf FOR(power)(vf x) {
	vf least = (vf){0} - 87;
	vi less = x < least;
	x = (vf)(((vi)x & ~less) | ((vi)least & less));
	vi whole = __builtin_convertvector(x * 1.44269504f - 0.5f, vi);
	vf n = __builtin_convertvector(whole, vf);
	vf r = x - n * 0.693145752f - n * 1.42860677e-6f;
	vf p = 1 + r * (1.0f / 7);
	p = 1 + r * (1.0f / 6) * p;
	p = 1 + r * (1.0f / 5) * p;
	p = 1 + r * (1.0f / 4) * p;
	p = 1 + r * (1.0f / 3) * p;
	p = 1 + r * (1.0f / 2) * p;
	p = 1 + r * p;
	return p * (vf)((whole + 127) << 23);
}
