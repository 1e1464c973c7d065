// The products of some rows with blocks of plain matrices.

#define transpose FOR(transpose)
#define put FOR(put)
#define fill FOR(fill)
#define fill_small FOR(fill_small)
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

// fill_small brings n inputs from the k-th on of WIDTH outputs of the small matrix, from the o-th on, into a panel.
INLINE void fill_small(float *to, const linear *l, int64_t k, int64_t n, int64_t o) {
	for (int64_t i = 0; i < n; i++, to += WIDTH) {
		if (l->pull)
			memcpy(to, l->small + (k + i) * l->out + o, WIDTH * sizeof *to);
		else
			for (int64_t w = 0; w < WIDTH; w++) to[w] = l->small[(o + w) * l->rank + k + i];
	}
}

// groups takes the rows of a turn, which begin at begin, through a panel of so many lines: x, all rows, of which a row has so many words, from the k-th on.
static void FOR(groups)(const linear *l, float *sums, const uint32_t *x, int64_t words, int64_t k, const uint32_t *panel, int64_t lines, int64_t turn, int new) {
	const int64_t groups = parts(l->rows, TOGETHER), first = part_begins(groups, l->turns, turn), last = part_begins(groups, l->turns, turn + 1);
	const int64_t begin = part_begins(l->rows, groups, first);
	for (int64_t o = 0; o < WIDTH; o += ABREAST * LANES)
		for (int64_t group = first, row = begin, some; group < last; group++, row += some) {
			some = part_begins(l->rows, groups, group + 1) - row;
			float *sum = sums + (row - begin) * WIDTH + o;
			const uint32_t *from = x + row * words + k * some;
			switch (some) {
			case 1: tile(sum, from, panel + o, lines, 1, new); break;
			case 2: tile(sum, from, panel + o, lines, 2, new); break;
			case 3: tile(sum, from, panel + o, lines, 3, new); break;
			case 4: tile(sum, from, panel + o, lines, 4, new); break;
			case 5: tile(sum, from, panel + o, lines, 5, new); break;
			case 6: tile(sum, from, panel + o, lines, 6, new); break;
			}
		}
}

// blocks computes the outputs of some blocks, at most BLOCKS, for the groups of rows of a turn.
static void FOR(blocks)(const linear *l, int64_t block, int64_t end, int64_t turn) {
	float sums[BLOCKS][ROWS * WIDTH] __attribute__((aligned(LINE)));
	uint32_t panel[PER_PAIR * DEPTH * WIDTH] __attribute__((aligned(LINE)));
	int new = 1;
	for (const term *t = l->terms; t < l->terms + l->count; t++) {
		const int64_t pairs = t->depth / 2;
		for (int64_t k = 0; k < pairs; k += DEPTH, new = 0)
			for (int64_t b = block; b < end; b++) {
				int64_t n = at_most(pairs - k, DEPTH);
				fill(panel, t->matrix + 2 * k * (l->pull ? t->columns : 1) + b * WIDTH * (l->pull ? 1 : t->columns), t->columns, n, l->pull);
				FOR(groups)(l, sums[b - block], t->x, PER_PAIR * pairs, PER_PAIR * k, panel, PER_PAIR * n, turn, new);
			}
	}
	for (int64_t k = 0; k < l->rank; k += DEPTH)
		for (int64_t b = block; b < end; b++) {
			int64_t n = at_most(l->rank - k, DEPTH);
			fill_small((float *)panel, l, k, n, b * WIDTH);
			FOR(groups)(l, sums[b - block], l->low, l->rank, k, panel, n, turn, 0);
		}
	const int64_t groups = parts(l->rows, TOGETHER), begin = part_begins(l->rows, groups, part_begins(groups, l->turns, turn));
	const int64_t rows = part_begins(l->rows, groups, part_begins(groups, l->turns, turn + 1)) - begin;
	for (int64_t r = 0; r < rows; r++)
		for (int64_t b = block; b < end; b++) memcpy(l->y + (begin + r) * l->out + b * WIDTH, sums[b - block] + r * WIDTH, WIDTH * sizeof *l->y);
}

#undef transpose
#undef put
#undef fill
#undef fill_small
#undef tile
#undef PER_PAIR
#undef PLUS
#undef ABREAST
