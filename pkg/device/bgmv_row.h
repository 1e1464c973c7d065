// One row's products.

#define some FOR(some)
#define one FOR(one)
#define products FOR(products)
#define through FOR(through)
#define add FOR(add)
#define row FOR(row)

// one is the i-th value of a matrix of f32 or bf16.
INLINE float one(const void *p, int64_t i, int bf16) {
	if (!bf16) return ((const float *)p)[i];
	union {
		uint32_t u;
		float f;
	} v = {(uint32_t)((const uint16_t *)p)[i] << 16};
	return v.f;
}

// some are LANES values from the i-th on.
INLINE vf some(const void *p, int64_t i, int bf16) {
	if (!bf16) return *(const vf *)((const float *)p + i);
	return (vf)(__builtin_convertvector(*(const vh *)((const uint16_t *)p + i), vu) << 16);
}

// through rounds to bf16 (to the nearest, of two to the even one) and back.
INLINE float through(float v) {
	union {
		float f;
		uint32_t u;
	} b = {v};
	if (v == v) b.u = (b.u + 0x7fff + (b.u >> 16 & 1)) & 0xffff0000u;
	return b.f;
}

// products are m [n] = a·x, for n ≤ 4 rows of a [n, in].
INLINE void products(float *m, const void *x, const void *a, int n, int64_t in, int bf16) {
	vf s[4] = {0};
	float rest[4] = {0};
	int64_t i = 0;
	for (; i + LANES <= in; i += LANES) {
		vf v = some(x, i, bf16);
		for (int k = 0; k < n; k++) s[k] += v * some(a, k * in + i, bf16);
	}
	for (; i < in; i++)
		for (int k = 0; k < n; k++) rest[k] += one(x, i, bf16) * one(a, k * in + i, bf16);
	for (int k = 0; k < n; k++) {
		for (int lane = 0; lane < LANES; lane++) rest[k] += s[k][lane];
		m[k] = bf16 ? through(rest[k]) : rest[k];
	}
}

// add makes y [out] what it is, or 0 if it is new, and m·b, for n ≤ 4 rows of b [n, out].
INLINE void add(float *y, const float *m, const void *b, int n, int64_t out, int new, int bf16) {
	int64_t o = 0;
	for (; o + 2 * LANES <= out; o += 2 * LANES) {
		vf s[2] = {0};
		for (int j = 0; j < 2; j++) {
			if (!new) s[j] = *(vf *)(y + o + j * LANES);
			for (int k = 0; k < n; k++) s[j] += m[k] * some(b, k * out + o + j * LANES, bf16);
			*(vf *)(y + o + j * LANES) = s[j];
		}
	}
	for (; o < out; o++) {
		float s = new ? 0 : y[o];
		for (int k = 0; k < n; k++) s += m[k] * one(b, k * out + o, bf16);
		y[o] = s;
	}
}

// row computes y [out] = (x·Aᵀ)·B for x [in] and n columns, a [n, in] and b [n, out]. Four columns at a time, so that x and y are read
// less often.
INLINE void row(float *y, const void *x, const void *a, const void *b, int64_t n, int64_t in, int64_t out, int bf16) {
	const int64_t width = bf16 ? 2 : 4;
	if (n == 0) memset(y, 0, out * sizeof *y);
	for (int64_t k = 0; k < n;) {
		float m[4];
		const void *from = (const char *)a + k * in * width, *to = (const char *)b + k * out * width;
		const int new = k == 0;
		if (n - k >= 4) {
			products(m, x, from, 4, in, bf16);
			if (new)
				add(y, m, to, 4, out, 1, bf16);
			else
				add(y, m, to, 4, out, 0, bf16);
			k += 4;
		} else {
			products(m, x, from, 1, in, bf16);
			add(y, m, to, 1, out, new, bf16);
			k++;
		}
	}
}

static void FOR(row_bf16)(float *y, const void *x, const void *a, const void *b, int64_t n, int64_t in, int64_t out) {
	row(y, x, a, b, n, in, out, 1);
}

static void FOR(row_f32)(float *y, const void *x, const void *a, const void *b, int64_t n, int64_t in, int64_t out) {
	row(y, x, a, b, n, in, out, 0);
}

#undef some
#undef one
#undef products
#undef through
#undef add
#undef row
