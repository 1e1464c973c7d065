// The attention of a block of rows, and its gradient. The block is turned: a vector holds a value of LANES rows, so that the largest of a row's scores and their
// sum are found without exchange between lanes.

#include "power.h"
#include "transpose.h"

#define power FOR(power)
#define transpose FOR(transpose)
#define tile FOR(tile)
#define product FOR(product)
#define larger FOR(larger)
#define turn FOR(turn)
#define turn_back FOR(turn_back)
#define scores FOR(scores)
#define top_up FOR(top_up)

// ABREAST vectors are computed at once: with TOGETHER rows their sums fill most registers, and none waits for another.
#define ABREAST (LANES == 16 ? 4 : 2)

// tile adds to y [rows, ABREAST·LANES] x·w: x [rows, n] with steps from row to row and from input to input, w [n, …]. It begins at 0 if it is new.
INLINE void tile(float *y, const float *x, int64_t row_step, int64_t step, const float *w, int64_t columns, int64_t n, int rows, int new) {
	vf s[TOGETHER][ABREAST];
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < ABREAST; v++) s[r][v] = new ? (vf){0} : *(const vf *)(y + r * columns + v * LANES);
	for (int64_t k = 0; k < n; k++, x += step, w += columns) {
		vf line[ABREAST];
		for (int v = 0; v < ABREAST; v++) line[v] = *(const vf *)(w + v * LANES);
		for (int r = 0; r < rows; r++) {
			uint32_t bits; // of which a vector is made without arithmetic
			memcpy(&bits, x + r * row_step, sizeof bits);
			vf value = (vf)((vu){0} + bits);
			for (int v = 0; v < ABREAST; v++) s[r][v] += value * line[v];
		}
		BRANCH_APART;
	}
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < ABREAST; v++) *(vf *)(y + r * columns + v * LANES) = s[r][v];
}

// product adds x·w to y [rows, columns], with w [n, columns] and x as in tile. columns is a multiple of WIDTH. What is taken of w at a time stays in the first cache.
static void product(float *y, const float *x, int64_t row_step, int64_t step, const float *w, int64_t columns, int64_t n, int64_t rows, int new) {
	for (int64_t k = 0; k < n; k += DEPTH, new = 0)
		for (int64_t c = 0; c < columns; c += ABREAST * LANES)
			for (int64_t r = 0; r < rows; r += TOGETHER) {
				float *to = y + r * columns + c;
				const float *from = x + r * row_step + k * step, *lines = w + k * columns + c;
				int64_t some = at_most(n - k, DEPTH);
				switch (at_most(rows - r, TOGETHER)) {
				case 1: tile(to, from, row_step, step, lines, columns, some, 1, new); break;
				case 2: tile(to, from, row_step, step, lines, columns, some, 2, new); break;
				case 3: tile(to, from, row_step, step, lines, columns, some, 3, new); break;
				case 4: tile(to, from, row_step, step, lines, columns, some, 4, new); break;
				case 5: tile(to, from, row_step, step, lines, columns, some, 5, new); break;
				case 6: tile(to, from, row_step, step, lines, columns, some, 6, new); break;
				}
			}
}

INLINE vf larger(vf a, vf b) {
	vi more = a > b;
	return (vf)(((vi)a & more) | ((vi)b & ~more));
}

// turn brings the rows of a block into to [dim, WIDTH], times a factor.
static void turn(float *to, const float *from, const block *b, int64_t dim, float factor) {
	for (int o = 0; o < WIDTH; o += LANES) {
		int64_t i = 0;
		for (; i + LANES <= dim; i += LANES) {
			vu words[LANES];
			for (int lane = 0; lane < LANES; lane++) words[lane] = *(const vu *)(from + b->at[o + lane] + i);
			transpose(words);
			for (int lane = 0; lane < LANES; lane++) *(vf *)(to + (i + lane) * WIDTH + o) = (vf)words[lane] * factor;
		}
		for (; i < dim; i++)
			for (int lane = 0; lane < LANES; lane++) to[i * WIDTH + o + lane] = from[b->at[o + lane] + i] * factor;
	}
}

// turn_back writes from [dim, WIDTH] to the rows of a block, each times its own factor.
static void turn_back(float *to, const float *from, const block *b, int64_t dim, const float *factors) {
	for (int o = 0; o < WIDTH; o += LANES) {
		int64_t i = 0;
		for (; i + LANES <= dim; i += LANES) {
			vu words[LANES];
			for (int lane = 0; lane < LANES; lane++) words[lane] = (vu)(*(const vf *)(from + (i + lane) * WIDTH + o) * *(const vf *)(factors + o));
			transpose(words);
			for (int lane = 0; lane < LANES && o + lane < b->count; lane++) *(vu *)(to + b->at[o + lane] + i) = words[lane];
		}
		for (; i < dim; i++)
			for (int lane = 0; lane < LANES && o + lane < b->count; lane++) to[b->at[o + lane] + i] = from[i * WIDTH + o + lane] * factors[o + lane];
	}
}

// scores gives those of n keys from p on, k [n, dim] with a step, s [n, WIDTH], for queries q [dim, WIDTH]; HIDDEN where a row does not see the key. It tells whether
// there may be such.
static int scores(float *s, const float *q, const float *k, int64_t step, int64_t dim, const block *b, int64_t p, int64_t n) {
	product(s, k, step, 1, q, WIDTH, dim, n, 1);
	if (p >= b->shared_first && p + n <= b->shared_end) return 0;
	for (int o = 0; o < WIDTH; o += LANES) {
		vi first = *(const vi *)(b->first + o), end = *(const vi *)(b->end + o);
		for (int64_t k = 0; k < n; k++) {
			vi key = (vi){0} + (int32_t)(p + k), seen = (key >= first) & (key < end);
			vf *at = (vf *)(s + k * WIDTH + o);
			*at = (vf)(((vi)*at & seen) | ((vi)((vf){0} + HIDDEN) & ~seen));
		}
	}
	return 1;
}

// top_up takes n more keys into the softmax of the rows: their largest score so far, and the sum of e^(score-top). It leaves these in s in the place of the
// scores and in before what everything so far is to be multiplied with, and tells whether any of that is not 1.
static int top_up(float *s, softmax *m, int64_t n, int hides) {
	int changed = 0;
	for (int o = 0; o < WIDTH; o += LANES) {
		vf *top = (vf *)(m->top + o), *sum = (vf *)(m->sum + o), highest = *top, total = {0};
		for (int64_t k = 0; k < n; k++) highest = larger(*(const vf *)(s + k * WIDTH + o), highest);
		vf before = power(*top - highest);
		for (int64_t k = 0; k < n; k++) {
			vf *at = (vf *)(s + k * WIDTH + o), weight = power(*at - highest);
			if (hides) weight = (vf)((vi)weight & (*at != HIDDEN));
			total += *at = weight;
		}
		vi other = *top != highest;
		for (int lane = 0; lane < LANES; lane++) changed |= other[lane];
		*top = highest, *sum = *sum * before + total, *(vf *)(m->before + o) = before;
	}
	return changed;
}

// forward computes the rows of a block.
static void FOR(forward)(const flash *f, const block *b) {
	float q[f->dim * WIDTH] __attribute__((aligned(LINE))), y[f->dim * WIDTH] __attribute__((aligned(LINE))), s[KEYS * WIDTH] __attribute__((aligned(LINE)));
	softmax m;
	softmax_begin(&m);
	turn(q, f->q, b, f->dim, f->scale);
	int new = 1;
	for (const source *from = b->source; from < b->source + b->sources; from++)
		for (int64_t p = from->from; p < from->to; p += KEYS, new = 0) {
			int64_t n = at_most(from->to - p, KEYS), at = (p - from->from) * from->step;
			int hides = scores(s, q, from->k + at, from->step, f->dim, b, p, n);
			if (top_up(s, &m, n, hides) && !new)
				for (int64_t i = 0; i < f->dim; i++)
					for (int o = 0; o < WIDTH; o += LANES) *(vf *)(y + i * WIDTH + o) *= *(const vf *)(m.before + o);
			product(y, from->v + at, 1, from->step, s, WIDTH, n, f->dim, new);
		}
	softmax_end(&m);
	turn_back(f->y, y, b, f->dim, m.sum);
}

// pull adds the gradients of a block's rows to those of the keys and values it saw, dk and dv [keys, wide], and gives that of its queries.
static void FOR(pull)(const flash *f, const block *b, float *dk, float *dv) {
	const int64_t dim = f->dim, wide = f->wide;
	const source *keys = b->source; // all of them, without a cache
	float q[dim * WIDTH] __attribute__((aligned(LINE))), d[dim * WIDTH] __attribute__((aligned(LINE))), dq[dim * WIDTH] __attribute__((aligned(LINE)));
	float q_rows[WIDTH * wide] __attribute__((aligned(LINE))), d_rows[WIDTH * wide] __attribute__((aligned(LINE)));
	float s[KEYS * WIDTH] __attribute__((aligned(LINE))), ds[KEYS * WIDTH] __attribute__((aligned(LINE)));
	float along[WIDTH] __attribute__((aligned(LINE))), scale[WIDTH];
	softmax m;
	softmax_begin(&m);
	turn(q, f->q, b, dim, f->scale);
	turn(d, f->d, b, dim, 1);
	for (int r = 0; r < WIDTH; r++) {
		const float *q_row = f->q + b->at[r], *d_row = f->d + b->at[r], *y_row = f->out + b->at[r];
		for (int64_t i = 0; i < wide; i++) {
			q_rows[r * wide + i] = i < dim ? q_row[i] * f->scale : 0;
			d_rows[r * wide + i] = i < dim ? d_row[i] : 0;
		}
		along[r] = 0, scale[r] = f->scale;
		for (int64_t i = 0; i < dim; i++) along[r] += d_row[i] * y_row[i];
	}
	for (int64_t p = keys->from; p < keys->to; p += KEYS) {
		int64_t n = at_most(keys->to - p, KEYS);
		top_up(s, &m, n, scores(s, q, keys->k + (p - keys->from) * keys->step, keys->step, dim, b, p, n));
	}
	softmax_end(&m);
	for (int64_t p = keys->from; p < keys->to; p += KEYS) {
		int64_t n = at_most(keys->to - p, KEYS), at = (p - keys->from) * keys->step;
		int hides = scores(s, q, keys->k + at, keys->step, dim, b, p, n);
		product(ds, keys->v + at, keys->step, 1, d, WIDTH, dim, n, 1);
		for (int o = 0; o < WIDTH; o += LANES) {
			vf top = *(const vf *)(m.top + o), part = *(const vf *)(m.sum + o), less = *(const vf *)(along + o);
			for (int64_t k = 0; k < n; k++) {
				vf *score = (vf *)(s + k * WIDTH + o), *gradient = (vf *)(ds + k * WIDTH + o), weight = power(*score - top) * part;
				if (hides) weight = (vf)((vi)weight & (*score != HIDDEN));
				*score = weight, *gradient = weight * (*gradient - less);
			}
		}
		product(dv + p * wide, s, WIDTH, 1, d_rows, wide, WIDTH, n, 0);
		product(dk + p * wide, ds, WIDTH, 1, q_rows, wide, WIDTH, n, 0);
		product(dq, keys->k + at, 1, keys->step, ds, WIDTH, n, dim, p == keys->from);
	}
	turn_back(f->y, dq, b, dim, scale);
}

#undef power
#undef transpose
#undef tile
#undef product
#undef larger
#undef turn
#undef turn_back
#undef scores
#undef top_up
#undef ABREAST
