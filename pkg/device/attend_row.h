// The attention of the query heads that share a head of keys.

#include "power.h"

#define dot FOR(dot)
#define power FOR(power)
#define tile FOR(tile)

// dot is the product of two vectors [dim].
INLINE float dot(const float *a, const float *b, int64_t dim) {
	vf s[2] = {0};
	int64_t i = 0;
	for (; i + 2 * LANES <= dim; i += 2 * LANES)
		for (int v = 0; v < 2; v++) s[v] += *(const vf *)(a + i + v * LANES) * *(const vf *)(b + i + v * LANES);
	s[0] += s[1];
	float lanes[LANES], rest = 0;
	memcpy(lanes, &s[0], sizeof lanes);
	for (; i < dim; i++) rest += a[i] * b[i];
	for (int half = LANES / 2; half > 0; half /= 2)
		for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
	return lanes[0] + rest;
}

// tile takes n ≤ TILE more positions into the softmax of a query q [dim]: its largest score so far, the sum of e^(score-top) and y [dim], the
// values so weighted.
INLINE void tile(float *y, float *top, float *sum, const float *q, const float *k, const float *v, int64_t n, int64_t dim, float scale) {
	float scores[TILE] __attribute__((aligned(64)));
	float highest = *top;
	for (int64_t p = 0; p < n; p++) {
		scores[p] = dot(q, k + p * dim, dim) * scale;
		highest = scores[p] > highest ? scores[p] : highest;
	}
	for (int64_t p = n; p < TILE; p++) scores[p] = -INFINITY;
	vf before = power((vf){0} + (*top - highest)), all = {0};
	*top = highest;
	for (int64_t p = 0; p < TILE; p += LANES) {
		vf weights = power(*(vf *)(scores + p) - highest);
		*(vf *)(scores + p) = weights;
	}
	for (int64_t p = n; p < TILE; p++) scores[p] = 0;
	for (int64_t p = 0; p < TILE; p += LANES) all += *(vf *)(scores + p);
	*sum *= before[0];
	for (int lane = 0; lane < LANES; lane++) *sum += all[lane];
	int64_t i = 0;
	for (; i + 4 * LANES <= dim; i += 4 * LANES) {
		vf s[4];
		for (int j = 0; j < 4; j++) s[j] = *(vf *)(y + i + j * LANES) * before[0];
		for (int64_t p = 0; p < n; p++)
			for (int j = 0; j < 4; j++) s[j] += scores[p] * *(const vf *)(v + p * dim + i + j * LANES);
		for (int j = 0; j < 4; j++) *(vf *)(y + i + j * LANES) = s[j];
	}
	for (; i < dim; i++) {
		float s = y[i] * before[0];
		for (int64_t p = 0; p < n; p++) s += scores[p] * v[p * dim + i];
		y[i] = s;
	}
}

// heads gives y [group, dim] for queries q [group, dim] over n positions of k and v [n, dim] and a fresh one of each.
static void FOR(heads)(float *y, const float *q, const float *k, const float *v, int64_t n, const float *fresh_k, const float *fresh_v,
	int64_t group, int64_t dim) {
	const float scale = 1 / sqrtf((float)dim);
	float top[group], sum[group];
	for (int64_t g = 0; g < group; g++) {
		top[g] = dot(q + g * dim, fresh_k, dim) * scale, sum[g] = 1;
		memcpy(y + g * dim, fresh_v, dim * sizeof *y);
	}
	for (int64_t p = 0; p < n; p += TILE)
		for (int64_t g = 0; g < group; g++)
			tile(y + g * dim, top + g, sum + g, q + g * dim, k + p * dim, v + p * dim, n - p < TILE ? n - p : TILE, dim, scale);
	for (int64_t g = 0; g < group; g++)
		for (int64_t i = 0; i < dim; i++) y[g * dim + i] /= sum[g];
}

#undef dot
#undef power
#undef tile
