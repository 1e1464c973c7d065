// The products of rows that have one adapter.

#define some FOR(some)
#define last FOR(last)
#define together FOR(together)
#define sum FOR(sum)
#define products FOR(products)
#define through FOR(through)
#define add FOR(add)
#define rows FOR(rows)

// Rows go through the matrices together, as many as have room in the registers with four columns, at most TOGETHER.
enum { together = LANES == 16 ? TOGETHER : 2 };
_Static_assert(together <= 4, "ROWS knows no more rows");

// some are LANES values from the i-th on, of bf16 or f32.
INLINE vf some(const void *p, int64_t i, int bf16) {
	if (!bf16) return *(const vf *)((const float *)p + i);
	return (vf)(__builtin_convertvector(*(const vh *)((const uint16_t *)p + i), vu) << 16);
}

// last are n values from the i-th on, n < LANES, and zeros. What does not fill a vector is computed in one, too: of single values the compiler makes in one
// place a product and a sum, in another both with one rounding.
INLINE vf last(const void *p, int64_t i, int64_t n, int bf16) {
	const int64_t width = bf16 ? 2 : 4;
	float values[LANES] = {0};
	memcpy(values, (const char *)p + i * width, n * width);
	return some(values, 0, bf16);
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

// sum adds to s [count, 4] the products of LANES inputs from the i-th on, or of the rest of them.
INLINE void sum(vf s[][4], const void *const *x, int count, const void *a, int n, int64_t in, int64_t i, int64_t rest, int x16, int bf16) {
	vf v[4];
	for (int k = 0; k < n; k++) v[k] = rest ? last(a, k * in + i, rest, bf16) : some(a, k * in + i, bf16);
	for (int r = 0; r < count; r++) {
		vf u = rest ? last(x[r], i, rest, x16) : some(x[r], i, x16);
		for (int k = 0; k < n; k++) s[r][k] += u * v[k];
	}
}

// products are m [count, 4] = x·a, for count rows of x [in] and n ≤ 4 rows of a [n, in].
INLINE void products(float m[][4], const void *const *x, int count, const void *a, int n, int64_t in, int x16, int bf16) {
	vf s[together][4] = {0};
	int64_t i = 0;
	for (; i + LANES <= in; i += LANES) sum(s, x, count, a, n, in, i, 0, x16, bf16);
	if (i < in) sum(s, x, count, a, n, in, i, in - i, x16, bf16);
	for (int r = 0; r < count; r++)
		for (int k = 0; k < n; k++) {
			float all = 0;
			for (int lane = 0; lane < LANES; lane++) all += s[r][k][lane];
			m[r][k] = x16 ? through(all) : all;
		}
}

// add makes count rows of y [out] what they are, or 0 if they are new, and m·b, for n ≤ 4 rows of b [n, out].
INLINE void add(float *const *y, int count, float m[][4], const void *b, int n, int64_t out, int new, int bf16) {
	int64_t o = 0;
	for (; o + 2 * LANES <= out; o += 2 * LANES) {
		vf v[4][2];
		for (int k = 0; k < n; k++)
			for (int j = 0; j < 2; j++) v[k][j] = some(b, k * out + o + j * LANES, bf16);
		for (int r = 0; r < count; r++)
			for (int j = 0; j < 2; j++) {
				vf *to = (vf *)(y[r] + o + j * LANES), s = new ? (vf){0} : *to;
				for (int k = 0; k < n; k++) s += m[r][k] * v[k][j];
				*to = s;
			}
	}
	for (int64_t width; o < out; o += width) {
		width = at_most(out - o, LANES - 1);
		for (int r = 0; r < count; r++) {
			vf s = new ? (vf){0} : last(y[r], o, width, 0);
			for (int k = 0; k < n; k++) s += m[r][k] * last(b, k * out + o, width, bf16);
			memcpy(y[r] + o, &s, width * sizeof *y[r]);
		}
	}
}

// rows computes y [out] = (x·Aᵀ)·B for count rows x [in], of bf16 if x16, and n columns, a [n, in] and b [n, out], of bf16 or f32. Four columns at a time, so
// that x and y are read less often.
INLINE void rows(float *const *y, const void *const *x, int count, const void *a, const void *b, int64_t n, int64_t in, int64_t out, int x16, int bf16) {
	const int64_t width = bf16 ? 2 : 4;
	float m[together][4];
	for (int64_t k = 0; k < n;) {
		const void *from = (const char *)a + k * in * width, *to = (const char *)b + k * out * width;
		if (n - k >= 4) {
			products(m, x, count, from, 4, in, x16, bf16);
			if (k == 0)
				add(y, count, m, to, 4, out, 1, bf16);
			else
				add(y, count, m, to, 4, out, 0, bf16);
			k += 4;
		} else {
			products(m, x, count, from, 1, in, x16, bf16);
			add(y, count, m, to, 1, out, k == 0, bf16);
			k++;
		}
	}
}

#define ROWS(name, x16, bf16) \
	static void FOR(name)(float *const *y, const void *const *x, int count, const void *a, const void *b, int64_t n, int64_t in, int64_t out) { \
		if (count == 1) rows(y, x, 1, a, b, n, in, out, x16, bf16); \
		if (count == 2) rows(y, x, 2, a, b, n, in, out, x16, bf16); \
		if (count == 3 && together > 2) rows(y, x, 3, a, b, n, in, out, x16, bf16); \
		if (count == 4 && together > 2) rows(y, x, 4, a, b, n, in, out, x16, bf16); \
	}
ROWS(rows_bf16, 1, 1)
ROWS(rows_rounded, 0, 1)
ROWS(rows_f32, 0, 0)
#undef ROWS

#undef some
#undef last
#undef together
#undef sum
#undef products
#undef through
#undef add
#undef rows
