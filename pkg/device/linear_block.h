// The products of some rows with blocks of plain matrices.

#include "transpose.h"

#define transpose FOR(transpose)
#define put FOR(put)
#define fill FOR(fill)
#define fill_small FOR(fill_small)
#define panel FOR(panel)
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

// fill_small is fill for so many inputs of a matrix of f32.
INLINE void fill_small(float *to, const float *w, int64_t columns, int64_t inputs, int pull) {
	for (int64_t i = 0; i < inputs; i++, to += WIDTH) {
		if (pull)
			memcpy(to, w + i * columns, WIDTH * sizeof *to);
		else
			for (int64_t o = 0; o < WIDTH; o++) to[o] = w[o * columns + i];
	}
}

// panel brings so many lines of a term into a panel, from the k-th on, for the outputs of a block.
INLINE void panel(uint32_t *to, const term *t, int64_t k, int64_t lines, int64_t block, int pull) {
	const int64_t first = t->small ? k : k / PER_PAIR * 2, at = pull ? first * t->columns + block * WIDTH : block * WIDTH * t->columns + first;
	if (t->small)
		fill_small((float *)to, t->small + at, t->columns, lines, pull);
	else
		fill(to, t->matrix + at, t->columns, lines / PER_PAIR, pull);
}

// blocks computes the outputs of some blocks, at most BLOCKS, for the groups of rows of a turn.
static void FOR(blocks)(const linear *l, int64_t block, int64_t end, int64_t turn) {
	float sums[BLOCKS][ROWS * WIDTH] __attribute__((aligned(LINE)));
	uint32_t w[PER_PAIR * DEPTH * WIDTH] __attribute__((aligned(LINE)));
	const int64_t first = group_begins(l, turn), last = group_begins(l, turn + 1), begin = row_begins(l, first), rows = row_begins(l, last) - begin;
	int new = 1;
	for (const term *t = l->terms; t < l->terms + l->count; t++)
		for (int64_t k = 0; k < t->words; k += PER_PAIR * DEPTH, new = 0)
			for (int64_t b = block; b < end; b++) {
				int64_t lines = at_most(t->words - k, PER_PAIR * DEPTH);
				panel(w, t, k, lines, b, l->pull);
				for (int64_t o = 0; o < WIDTH; o += ABREAST * LANES)
					for (int64_t group = first, row = begin, some; group < last; group++, row += some) {
						some = row_begins(l, group + 1) - row;
						float *sum = sums[b - block] + (row - begin) * WIDTH + o;
						const uint32_t *x = t->x + row * t->words + k * some;
						switch (some) {
						case 1: tile(sum, x, w + o, lines, 1, new); break;
						case 2: tile(sum, x, w + o, lines, 2, new); break;
						case 3: tile(sum, x, w + o, lines, 3, new); break;
						case 4: tile(sum, x, w + o, lines, 4, new); break;
						case 5: tile(sum, x, w + o, lines, 5, new); break;
						case 6: tile(sum, x, w + o, lines, 6, new); break;
						}
					}
			}
	for (int64_t r = 0; r < rows; r++)
		for (int64_t b = block; b < end; b++) memcpy(l->y + (begin + r) * l->out + b * WIDTH, sums[b - block] + r * WIDTH, WIDTH * sizeof *l->y);
}

#undef transpose
#undef put
#undef fill
#undef fill_small
#undef panel
#undef tile
#undef PER_PAIR
#undef PLUS
#undef ABREAST
