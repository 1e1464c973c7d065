// The products of some rows with a block of a plain matrix.

#define transpose FOR(transpose)
#define put FOR(put)
#define fill FOR(fill)
#define tile FOR(tile)

#ifdef DOT
#define PER_PAIR 1
#define PLUS(sum, x, w) DOT(sum, x, w)
#else
#define PER_PAIR 2
#define PLUS(sum, x, w) ((sum) + (vf)(x) * (vf)(w))
#endif

// ABREAST vectors are computed at once: with TOGETHER rows their sums fill most registers, and none waits for another.
#define ABREAST (LANES == 16 ? 4 : 2)

// put brings both inputs of a pair into a panel, for LANES outputs. A panel has WIDTH outputs in each line: one input of them in f32, or where the
// processor multiplies pairs, a pair in bf16.
INLINE void put(uint32_t *to, vu both) {
#ifdef DOT
	*(vu *)to = both;
#else
	*(vu *)to = both << 16;
	*(vu *)(to + WIDTH) = both & 0xffff0000u;
#endif
}

// transpose exchanges rows and columns of LANES words each: every round moves one bit of their numbers from the one to the other.
INLINE void transpose(vu *a) {
	for (int round = 1; round < LANES; round *= 2) {
		vu b[LANES];
		for (int i = 0; i < LANES / 2; i++) {
			b[2 * i] = INTERLEAVED(a[i], a[i + LANES / 2], LOW);
			b[2 * i + 1] = INTERLEAVED(a[i], a[i + LANES / 2], HIGH);
		}
		for (int i = 0; i < LANES; i++) a[i] = b[i];
	}
}

// fill brings n pairs of inputs of WIDTH outputs into a panel. In w an output is a row of so many columns; to pull, an input is one.
INLINE void fill(uint32_t *to, const uint16_t *w, int64_t columns, int64_t n, int pull) {
	if (pull) {
		for (int64_t p = 0; p < n; p++, w += 2 * columns, to += PER_PAIR * WIDTH)
			for (int64_t o = 0; o < WIDTH; o += LANES) {
				__builtin_prefetch(w + 2 * DEPTH * columns + o, 0, 2);
				__builtin_prefetch(w + (2 * DEPTH + 1) * columns + o, 0, 2);
				put(to + o, __builtin_convertvector(*(const vh *)(w + o), vu) | __builtin_convertvector(*(const vh *)(w + columns + o), vu) << 16);
			}
		return;
	}
	for (int64_t o = 0; o < WIDTH; o += LANES, w += LANES * columns) {
		int64_t p = 0;
		for (; p + LANES <= n; p += LANES) {
			vu words[LANES];
			for (int i = 0; i < LANES; i++) {
				words[i] = *(const vu *)(w + i * columns + 2 * p);
				__builtin_prefetch(w + i * columns + 2 * (p + DEPTH), 0, 2);
			}
			transpose(words);
			for (int i = 0; i < LANES; i++) put(to + PER_PAIR * (p + i) * WIDTH + o, words[i]);
		}
		for (; p < n; p++) {
			vu both;
			for (int i = 0; i < LANES; i++) both[i] = w[i * columns + 2 * p] | (uint32_t)w[i * columns + 2 * p + 1] << 16;
			put(to + PER_PAIR * p * WIDTH + o, both);
		}
	}
}

// tile adds to y [rows, ABREAST·LANES] x·w for some lines of a panel: x [lines, rows]. It begins at 0 if it is new.
INLINE void tile(float *y, const uint32_t *x, const uint32_t *w, int64_t lines, int rows, int new) {
	vf s[TOGETHER][ABREAST];
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < ABREAST; v++) s[r][v] = new ? (vf){0} : *(const vf *)(y + r * WIDTH + v * LANES);
	for (int64_t k = 0; k < lines; k++, w += WIDTH, x += rows) {
		vu line[ABREAST];
		for (int v = 0; v < ABREAST; v++) line[v] = *(const vu *)(w + v * LANES);
		for (int r = 0; r < rows; r++) {
			vu value = (vu){0} + x[r];
			for (int v = 0; v < ABREAST; v++) s[r][v] = PLUS(s[r][v], value, line[v]);
		}
		BRANCH_APART;
	}
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < ABREAST; v++) *(vf *)(y + r * WIDTH + v * LANES) = s[r][v];
}

// block computes y [rows, WIDTH], out apart, for the groups of rows of a turn: x, all rows, as rows_arrange writes them, of so much depth, and WIDTH outputs
// of a matrix.
static void FOR(block)(float *y, int64_t out, const uint32_t *x, int64_t depth, const uint16_t *w, int64_t columns, int pull, int64_t rows, int64_t turn, int64_t turns) {
	float sums[ROWS * WIDTH] __attribute__((aligned(LINE)));
	uint32_t matrix[PER_PAIR * DEPTH * WIDTH] __attribute__((aligned(LINE)));
	const int64_t pairs = depth / 2, groups = parts(rows, TOGETHER), first = part_begins(groups, turns, turn), last = part_begins(groups, turns, turn + 1);
	const int64_t begin = part_begins(rows, groups, first), end = part_begins(rows, groups, last);
	for (int64_t k = 0; k < pairs; k += DEPTH) {
		int64_t n = at_most(pairs - k, DEPTH), lines = PER_PAIR * n;
		fill(matrix, w + 2 * k * (pull ? columns : 1), columns, n, pull);
		for (int64_t o = 0; o < WIDTH; o += ABREAST * LANES)
			for (int64_t group = first, row = begin, some; group < last; group++, row += some) {
				some = part_begins(rows, groups, group + 1) - row;
				float *sum = sums + (row - begin) * WIDTH + o;
				const uint32_t *from = x + PER_PAIR * (row * pairs + k * some), *panel = matrix + o;
				switch (some) {
				case 1: tile(sum, from, panel, lines, 1, k == 0); break;
				case 2: tile(sum, from, panel, lines, 2, k == 0); break;
				case 3: tile(sum, from, panel, lines, 3, k == 0); break;
				case 4: tile(sum, from, panel, lines, 4, k == 0); break;
				case 5: tile(sum, from, panel, lines, 5, k == 0); break;
				case 6: tile(sum, from, panel, lines, 6, k == 0); break;
				}
			}
	}
	for (int64_t r = begin; r < end; r++) memcpy(y + r * out, sums + (r - begin) * WIDTH, WIDTH * sizeof *y);
}

#undef transpose
#undef put
#undef fill
#undef tile
#undef PER_PAIR
#undef PLUS
#undef ABREAST
