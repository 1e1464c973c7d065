// The attention of new tokens of each row over its cache and themselves; here that of one, in flash.c that of several.

#include "ffi.h"
#include "flash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// TILE positions are taken at a time: their keys and values stay in the first cache for all heads that share them.
enum { TILE = 32 };

#define EACH "attend_row.h"
#include "processors.h"

typedef void heads_function(float *y, const float *q, const float *k, const float *v, int64_t n, const float *fresh_k, const float *fresh_v,
	int64_t group, int64_t dim);

// LEAST multiplications are worth the waking of another thread, LARGEST is the number of query heads that may share a head of keys.
enum { LEAST = 1 << 18, LARGEST = 256 };

typedef struct {
	job job; // a piece is a head of keys of a row
	heads_function *heads;
	int64_t kv_heads, group, dim, context, window;
	const float *q, *k, *v, *keys, *values;
	const int32_t *cached, *rows;
	float *y;
} attend;

static void piece(job *j, int64_t i) {
	const attend *w = (const attend *)j;
	int64_t row = i / w->kv_heads, head = i % w->kv_heads, n = w->cached[row];
	int64_t first = w->window > 0 && n >= w->window ? n - w->window + 1 : 0;
	int64_t old = ((w->rows[row] * w->kv_heads + head) * w->context + first) * w->dim;
	int64_t query = i * w->group * w->dim;
	w->heads(w->y + query, w->q + query, w->keys + old, w->values + old, n - first, w->k + i * w->dim, w->v + i * w->dim, w->group, w->dim);
}

ffi_error *ffi_attend(call_frame *call) {
	if (call->args.count != 8 || call->results.count != 1)
		return ffi_fail(call, "attention: takes q, k, v, keys, values, cached, rows and the window, and gives one result");
	buffer **in = call->args.list;
	const buffer *y = call->results.list[0];
	if (in[0]->rank != 4 || in[3]->rank != 4) return ffi_fail(call, "attention: q or the keys have not four axes");
	int64_t rows = in[0]->dims[0], tokens = in[0]->dims[1], heads = in[0]->dims[2], dim = in[0]->dims[3];
	int64_t caches = in[3]->dims[0], kv_heads = in[3]->dims[1], context = in[3]->dims[2];
	if (kv_heads < 1 || heads % kv_heads != 0 || heads / kv_heads > LARGEST) return ffi_fail(call, "attention: the heads cannot share the keys");
	const int64_t q[] = {rows, tokens, heads, dim}, k[] = {rows, tokens, kv_heads, dim}, keys[] = {caches, kv_heads, context, dim}, result[] = {rows, tokens, heads * dim};
	if (!ffi_shaped(in[0], DTYPE_F32, 4, q) || !ffi_shaped(in[1], DTYPE_F32, 4, k) || !ffi_shaped(in[2], DTYPE_F32, 4, k) || !ffi_shaped(in[3], DTYPE_F32, 4, keys) ||
		!ffi_shaped(in[4], DTYPE_F32, 4, keys) || !ffi_shaped(in[5], DTYPE_S32, 1, q) || !ffi_shaped(in[6], DTYPE_S32, 1, q) || !ffi_shaped(in[7], DTYPE_S32, 0, q) ||
		!ffi_shaped(y, DTYPE_F32, 3, result))
		return ffi_fail(call, "attention: the operands do not go together");
	const int32_t *cached = in[5]->data, *index = in[6]->data;
	int64_t positions = 0;
	for (int64_t r = 0; r < rows; r++) {
		if (cached[r] < 0 || cached[r] > context || index[r] < 0 || index[r] >= caches)
			return ffi_fail(call, "attention: a row is not in the cache, or more positions than it has");
		positions += cached[r] + 1;
	}
	if (tokens > 1) {
		const char *wrong = flash_cached(call);
		return wrong == NULL ? NULL : ffi_fail(call, wrong);
	}
	attend *w = malloc(sizeof *w);
	if (w == NULL) return ffi_fail(call, "attention: no memory");
	*w = (attend){.job = {.piece = piece, .pieces = rows * kv_heads}, .heads = FASTEST(heads), .kv_heads = kv_heads, .group = heads / kv_heads, .dim = dim,
		.context = context, .window = *(const int32_t *)in[7]->data, .q = in[0]->data, .k = in[1]->data, .v = in[2]->data, .keys = in[3]->data,
		.values = in[4]->data, .cached = cached, .rows = index, .y = y->data};
	ffi_run(call, &w->job, positions * heads * dim * 2 / LEAST);
	return NULL;
}
