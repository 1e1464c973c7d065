// The products of a block of a packed matrix, in vectors of LANES values; packed.c includes this for each kind of processor, and BLOCK
// names what it gives.

#define vf BLOCK(vf)
#define vu BLOCK(vu)
#define tile BLOCK(tile)
#define tiles BLOCK(tiles)
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES), aligned(4)));

// tile adds to y [rows, vectors·LANES], rows out apart, x·w for n pairs of inputs: x [rows, 2n] with rows in apart, w [n, 64] with both
// inputs' values in each. It begins at 0 if it is new. Meanwhile it fetches n lines of what is needed next, if that is not NULL.
INLINE void tile(float *y, int64_t out, const float *x, int64_t in, const uint32_t *w, int64_t n, int rows, int vectors, int new, const char *next) {
	vf s[5][16];
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < vectors; v++) s[r][v] = new ? (vf){0} : *(const vf *)(y + r * out + v * LANES);
	for (int64_t p = 0; p < n; p++, w += WIDTH) {
		if (next) __builtin_prefetch(next + p * LINE);
		vf half[16];
		if (rows == 1) {
			for (int v = 0; v < vectors; v++) {
				vu both = *(const vu *)(w + v * LANES);
				s[0][v] += x[2 * p] * (vf)(both << 16);
				s[0][v] += x[2 * p + 1] * (vf)(both & 0xffff0000u);
			}
			continue;
		}
		for (int v = 0; v < vectors; v++) half[v] = (vf)(*(const vu *)(w + v * LANES) << 16);
		for (int r = 0; r < rows; r++)
			for (int v = 0; v < vectors; v++) s[r][v] += x[r * in + 2 * p] * half[v];
		for (int v = 0; v < vectors; v++) half[v] = (vf)(*(const vu *)(w + v * LANES) & 0xffff0000u);
		for (int r = 0; r < rows; r++)
			for (int v = 0; v < vectors; v++) s[r][v] += x[r * in + 2 * p + 1] * half[v];
	}
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < vectors; v++) *(vf *)(y + r * out + v * LANES) = s[r][v];
}

// tiles is tile for any number of rows, five at a time, or fewer: more have no room in the registers of AVX2, of fewer the sums wait for
// each other.
INLINE void tiles(float *y, int64_t out, const float *x, int64_t in, const uint32_t *w, int64_t n, int64_t rows, int new, const char *next) {
	for (int64_t count = (rows + 4) / 5; count > 0; count--) {
		int some = (int)((rows + count - 1) / count);
		switch (some) {
		case 1: tile(y, out, x, in, w, n, 1, 2, new, next); break;
		case 2: tile(y, out, x, in, w, n, 2, 2, new, next); break;
		case 3: tile(y, out, x, in, w, n, 3, 2, new, next); break;
		case 4: tile(y, out, x, in, w, n, 4, 2, new, next); break;
		case 5: tile(y, out, x, in, w, n, 5, 2, new, next); break;
		}
		rows -= some, y += some * out, x += some * in, next = NULL;
	}
}

// block computes y [rows, 64], rows out apart, for x [rows, in] f32 and a block w [in/2, 64].
static void BLOCK(block)(float *y, int64_t out, const float *x, int64_t in, const uint32_t *w, int64_t rows) {
	if (rows == 1) { // in the order of the memory
		tile(y, out, x, in, w, in / 2, 1, WIDTH / LANES, 1, NULL);
		return;
	}
	for (int64_t k = 0; k < in / 2; k += DEPTH) {
		int64_t n = in / 2 - k < DEPTH ? in / 2 - k : DEPTH;
		const char *next = (const char *)(w + (k + n) * WIDTH);
		for (int64_t o = 0; o < WIDTH; o += 2 * LANES, next += n * LINE)
			tiles(y + o, out, x + 2 * k, in, w + k * WIDTH + o, n, rows, k == 0, next);
	}
}

#undef vf
#undef vu
#undef tile
#undef tiles
#undef INLINE
