// The products of some rows with blocks of plain matrices.

#include "transpose.h"

#define transpose FOR(transpose)
#define put FOR(put)
#define put_apart FOR(put_apart)
#define fill FOR(fill)
#define fill_small FOR(fill_small)
#define panel FOR(panel)
#define tile FOR(tile)
#define group FOR(group)

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

// put_apart is put for the inputs of a pair that do not lie side by side.
INLINE void put_apart(uint32_t *to, const uint16_t *first, const uint16_t *second) {
	vu a = WIDENED(*(const vh *)first), b = WIDENED(*(const vh *)second) << 16;
#ifdef DOT
	*(vu *)to = a | b;
#else
	*(vu *)to = a << 16;
	*(vu *)(to + WIDTH) = b;
#endif
}

// fill brings n pairs of inputs of WIDTH outputs into a panel. In w an output is a row of so many columns; to pull, an input is one.
INLINE void fill(uint32_t *to, const uint16_t *w, int64_t columns, int64_t n, int pull) {
	if (pull) {
		for (int64_t p = 0; p < n; p++, w += 2 * columns, to += PER_PAIR * WIDTH)
			for (int64_t o = 0; o < WIDTH; o += LANES) {
				__builtin_prefetch(w + 2 * DEPTH * columns + o, 0, 2);
				__builtin_prefetch(w + (2 * DEPTH + 1) * columns + o, 0, 2);
				put_apart(to + o, w + o, w + columns + o);
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

// tile adds x·w to the sums so far [rows, ABREAST·LANES] for some lines of a panel, into y with a step of its own from row to row. x [rows, lines] has steps from row
// to row and from line to line. There may be no sums yet.
INLINE void tile(float *y, int64_t y_step, const float *sums, const uint32_t *x, int64_t row_step, int64_t step, const uint32_t *w, int64_t lines, int rows) {
	vf s[TOGETHER][ABREAST];
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < ABREAST; v++) s[r][v] = sums == NULL ? (vf){0} : *(const vf *)(sums + r * WIDTH + v * LANES);
	for (int64_t k = 0; k < lines; k++, w += WIDTH, x += step) {
		vu line[ABREAST];
		for (int v = 0; v < ABREAST; v++) line[v] = *(const vu *)(w + v * LANES);
		for (int r = 0; r < rows; r++) {
			vu value = (vu){0} + x[r * row_step];
			for (int v = 0; v < ABREAST; v++) s[r][v] = PLUS(s[r][v], value, line[v]);
		}
		BRANCH_APART;
	}
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < ABREAST; v++) *(vf *)(y + r * y_step + v * LANES) = s[r][v];
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

// group adds the products of some rows with a panel of a term, from the k-th line on, to the sums so far, of which there may be none. The last ones are the results.
INLINE void group(float *y, int64_t y_step, const float *sums, const term *t, int64_t row, int64_t k, const uint32_t *w, int64_t lines, int some) {
	const uint32_t *x = t->arranged ? t->x + row * t->words + k * some : t->x + row * t->words + k;
	const int64_t row_step = t->arranged ? 1 : t->words, step = t->arranged ? some : 1;
	for (int64_t o = 0; o < WIDTH; o += ABREAST * LANES)
		tile(y + o, y_step, sums == NULL ? NULL : sums + o, x, row_step, step, w + o, lines, some);
}

// blocks computes the outputs of some blocks, at most BLOCKS, for the groups of rows of a turn.
static void FOR(blocks)(const linear *l, int64_t block, int64_t end, int64_t turn) {
	float sums[BLOCKS][ROWS * WIDTH] __attribute__((aligned(LINE)));
	uint32_t w[PER_PAIR * DEPTH * WIDTH] __attribute__((aligned(LINE)));
	const int64_t first = group_begins(l, turn), groups = group_begins(l, turn + 1) - first;
	int64_t begins[ROWS / TOGETHER + 1];
	for (int64_t g = 0; g <= groups; g++) begins[g] = row_begins(l, first + g);
	int new = 1;
	for (const term *t = l->terms; t < l->terms + l->count; t++)
		for (int64_t k = 0; k < t->words; k += PER_PAIR * DEPTH, new = 0) {
			int64_t lines = at_most(t->words - k, PER_PAIR * DEPTH);
			int last = t + 1 == l->terms + l->count && k + lines == t->words;
			for (int64_t b = block; b < end; b++) {
				panel(w, t, k, lines, b, l->pull);
				for (int64_t g = 0; g < groups; g++) {
					const int64_t row = begins[g], some = begins[g + 1] - row;
					float *sum = sums[b - block] + (row - begins[0]) * WIDTH, *y = last ? l->y + row * l->out + b * WIDTH : sum;
					const float *so_far = new ? NULL : sum;
					const int64_t step = last ? l->out : WIDTH;
					switch (some) {
					case 1: group(y, step, so_far, t, row, k, w, lines, 1); break;
					case 2: group(y, step, so_far, t, row, k, w, lines, 2); break;
					case 3: group(y, step, so_far, t, row, k, w, lines, 3); break;
					case 4: group(y, step, so_far, t, row, k, w, lines, 4); break;
					case 5: group(y, step, so_far, t, row, k, w, lines, 5); break;
					case 6: group(y, step, so_far, t, row, k, w, lines, 6); break;
					}
				}
			}
		}
}

#undef transpose
#undef put
#undef put_apart
#undef fill
#undef fill_small
#undef panel
#undef tile
#undef group
#undef PER_PAIR
#undef PLUS
#undef ABREAST
