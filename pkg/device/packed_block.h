// The products of a block of a packed matrix.

#define tile FOR(tile)
#define together FOR(together)

// Rows go through a part of a block together, or fewer: more have no room in the registers, and with fewer the sums wait for each other.
enum { together = LANES == 16 ? 12 : 5 };

// tile adds to y [rows, vectors·LANES], rows out apart, x·w for n pairs of inputs: x [2n, rows], w [n, 64] with both inputs' values in each.
// It begins at 0 if it is new. Meanwhile it fetches what is needed next, so many bytes with each pair, if any.
INLINE void tile(float *y, int64_t out, const float *x, const uint32_t *w, int64_t n, int rows, int vectors, int new, const char *next, int64_t bytes) {
	vf s[together][WIDTH / LANES];
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < vectors; v++) s[r][v] = new ? (vf){0} : *(const vf *)(y + r * out + v * LANES);
	for (int64_t p = 0; p < n; p++, w += WIDTH, x += 2 * rows, next += bytes) {
		vf half[WIDTH / LANES];
		if (rows == 1) {
			for (int v = 0; v < vectors; v++) {
				vu both = *(const vu *)(w + v * LANES);
				s[0][v] += x[0] * (vf)(both << 16);
				s[0][v] += x[1] * (vf)(both & 0xffff0000u);
			}
			continue;
		}
		__builtin_prefetch(next);
		__builtin_prefetch(next + bytes / 2); // the same line once more is cheaper than a branch
		for (int v = 0; v < vectors; v++) half[v] = (vf)(*(const vu *)(w + v * LANES) << 16);
		for (int r = 0; r < rows; r++)
			for (int v = 0; v < vectors; v++) s[r][v] += x[r] * half[v];
		for (int v = 0; v < vectors; v++) half[v] = (vf)(*(const vu *)(w + v * LANES) & 0xffff0000u);
		for (int r = 0; r < rows; r++)
			for (int v = 0; v < vectors; v++) s[r][v] += x[rows + r] * half[v];
		BRANCH_APART;
	}
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < vectors; v++) *(vf *)(y + r * out + v * LANES) = s[r][v];
}

// block computes y [rows, 64], rows out apart, for the groups of rows of a turn: x, all rows, as rows_arrange writes them, and a block w [in/2, 64]. The sums
// are side by side until they are ready: rows far apart take the same places of the cache. Each group fetches a part of what is needed next: all at once
// would have to wait for the memory.
static void FOR(block)(float *y, int64_t out, const float *x, const uint32_t *w, int64_t in, int64_t rows, int64_t turn, int64_t turns) {
	if (rows == 1) { // in the order of the memory
		tile(y, out, x, w, in / 2, 1, WIDTH / LANES, 1, NULL, 0);
		return;
	}
	float sums[ROWS * WIDTH] __attribute__((aligned(LINE)));
	const int64_t groups = parts(rows, together), first = part_begins(groups, turns, turn), last = part_begins(groups, turns, turn + 1);
	const int64_t begin = part_begins(rows, groups, first), end = part_begins(rows, groups, last);
	const int64_t bytes = parts(2 * LANES * sizeof *w, last - first);
	for (int64_t k = 0; k < in / 2; k += DEPTH) {
		int64_t n = at_most(in / 2 - k, DEPTH);
		const char *next = (const char *)(w + (k + n) * WIDTH);
		for (int64_t o = 0; o < WIDTH; o += 2 * LANES)
			for (int64_t group = first, row = begin, some; group < last; group++, row += some, next += n * bytes) {
				some = part_begins(rows, groups, group + 1) - row;
				float *sum = sums + (row - begin) * WIDTH + o;
				const float *from = x + row * in + 2 * k * some;
#define CASE(m) \
	case m: if (m <= together) tile(sum, WIDTH, from, w + k * WIDTH + o, n, m, 2, k == 0, next, bytes); break;
				switch (some) {
					CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
				}
#undef CASE
			}
	}
	for (int64_t r = begin; r < end; r++) memcpy(y + r * out, sums + (r - begin) * WIDTH, WIDTH * sizeof *y);
}

#undef tile
#undef together
