// The attention of many tokens over ranges of keys, and its gradient, without scores in memory (FlashAttention-2, arXiv 2307.08691).

#include "ffi.h"
#include "flash.h"
#include "kernels.h"
#include "parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// A block is WIDTH rows: queries of the heads that share a head of keys, all of them of one token, then of the next. KEYS keys are taken at a time, TOGETHER rows
// or keys and DEPTH inputs in one turn of a product.
enum { WIDTH = 64, KEYS = 48, TOGETHER = 6, DEPTH = 64 };

// The gradients of a head's keys and values are sums over its blocks. These are divided into PARTS that add up their own, so that others can work on them; as many
// on every machine, as the order of a sum decides about its last bit.
enum { PARTS = 4 };

// ALONE is for how many keys one thread adds parts up while another would wake up.
enum { ALONE = 64 };

#define HIDDEN (-1e30f)

// source is where some keys and their values are: those from one up to another, the first of them at k and v, with a step to the next.
typedef struct {
	const float *k, *v;
	int64_t step, from, to;
} source;

typedef struct {
	int64_t count; // rows
	int64_t at[WIDTH]; // where a row begins in q, in the result, and in their gradients
	// A row sees the keys from first up to end, all rows those from shared_first up to shared_end, any of them what the sources have.
	int32_t first[WIDTH], end[WIDTH];
	int64_t shared_first, shared_end;
	int sources;
	source source[2];
} block;

// softmax is the state of one for every row: the largest score so far, and the sum of e^(score-top).
typedef struct {
	float top[WIDTH], sum[WIDTH], before[WIDTH];
} softmax;

static void softmax_begin(softmax *m) {
	for (int r = 0; r < WIDTH; r++) m->top[r] = HIDDEN, m->sum[r] = 0;
}

// softmax_end leaves in the place of the sums what the weights are to be multiplied with: 0 for what is no row. What is not a number stays so.
static void softmax_end(softmax *m) {
	for (int r = 0; r < WIDTH; r++) m->sum[r] = m->sum[r] == 0 ? 0 : 1 / m->sum[r];
}

// cache is what the new tokens see beside themselves: of each row so many positions of a cache.
typedef struct {
	const float *keys, *values; // [caches, kv heads, context, dim]
	const int32_t *filled, *index;
	int64_t context, window;
} cache;

typedef struct flash {
	job job; // a piece is a block, or to pull, a part of the blocks of a head of keys
	void (*forward)(const struct flash *, const block *);
	void (*pull)(const struct flash *, const block *, float *dk, float *dv);
	int64_t batch, seq, keys, kv_heads, group, dim, wide; // wide is dim up to a multiple of WIDTH
	float scale;
	const float *q, *k, *v, *out, *d;
	const int32_t *ranges; // or where they are those of new tokens behind cached ones:
	const cache *cache;
	float *y; // the result, or the gradient of q
	float *sums; // [batch, kv heads, parts, 2, keys, wide]
	int64_t blocks, parts; // of a head of keys
} flash;

// range_of is the first key that a token of a row sees. It gives the one behind the last.
static int64_t range_of(const flash *f, int64_t row, int64_t token, int64_t *first) {
	if (f->cache == NULL) {
		const int32_t *range = f->ranges + 2 * (row * f->seq + token);
		*first = range[0];
		return range[1];
	}
	int64_t end = f->cache->filled[row] + token + 1;
	*first = f->cache->window > 0 && end > f->cache->window ? end - f->cache->window : 0;
	return end;
}

// part_of is what a source has of the keys from one up to another.
static source part_of(source s, int64_t from, int64_t to) {
	int64_t skipped = from > s.from ? from - s.from : 0;
	s.k += skipped * s.step, s.v += skipped * s.step, s.from += skipped;
	if (to < s.to) s.to = to;
	return s;
}

// block_take says what the i-th block of a head of keys is.
static void block_take(block *b, const flash *f, int64_t row, int64_t head, int64_t i) {
	int64_t begin = i * WIDTH, from = INT64_MAX, to = 0;
	*b = (block){.count = at_most(f->seq * f->group - begin, WIDTH), .shared_end = INT64_MAX};
	for (int r = 0; r < b->count; r++) {
		int64_t token = (begin + r) / f->group, first, end = range_of(f, row, token, &first);
		b->at[r] = (((row * f->seq + token) * f->kv_heads + head) * f->group + (begin + r) % f->group) * f->dim;
		b->first[r] = first, b->end[r] = end;
		if (first > b->shared_first) b->shared_first = first;
		if (end < b->shared_end) b->shared_end = end;
		if (first < from) from = first;
		if (end > to) to = end;
	}
	if (b->count < WIDTH) b->shared_end = 0;
	for (int r = b->count; r < WIDTH; r++) b->at[r] = b->at[0]; // they see nothing
	int64_t filled = 0, step = f->kv_heads * f->dim, fresh = row * f->keys * step + head * f->dim;
	if (f->cache != NULL) {
		const cache *c = f->cache;
		filled = c->filled[row];
		int64_t old = (c->index[row] * f->kv_heads + head) * c->context * f->dim;
		b->source[b->sources++] = part_of((source){c->keys + old, c->values + old, f->dim, 0, filled}, from, to);
	}
	b->source[b->sources++] = part_of((source){f->k + fresh, f->v + fresh, step, filled, filled + f->keys}, from, to);
}

#define EACH "flash_block.h"
#include "processors.h"

// The last blocks see most keys, and come first.
static void forward_piece(job *j, int64_t i) {
	const flash *f = (const flash *)j;
	block b;
	int64_t heads = f->batch * f->kv_heads, head = i % heads;
	block_take(&b, f, head / f->kv_heads, head % f->kv_heads, f->blocks - 1 - i / heads);
	f->forward(f, &b);
}

static void pull_piece(job *j, int64_t i) {
	const flash *f = (const flash *)j;
	block b;
	int64_t head = i / f->parts, size = f->keys * f->wide;
	float *dk = f->sums + i * 2 * size, *dv = dk + size;
	for (int64_t at = i % f->parts; at < f->blocks; at += f->parts) {
		block_take(&b, f, head / f->kv_heads, head % f->kv_heads, at);
		f->pull(f, &b, dk, dv);
	}
}

typedef struct {
	job job; // a piece is a key of all rows and heads
	flash of;
	float *dk, *dv;
} total;

static void total_piece(job *j, int64_t key) {
	const total *t = (const total *)j;
	const flash *f = &t->of;
	for (int64_t head = 0; head < f->batch * f->kv_heads; head++) {
		int64_t to = ((head / f->kv_heads * f->keys + key) * f->kv_heads + head % f->kv_heads) * f->dim, size = f->keys * f->wide;
		for (int64_t i = 0; i < f->dim; i++) {
			float k = 0, v = 0;
			const float *from = f->sums + head * f->parts * 2 * size + key * f->wide + i;
			for (int64_t part = 0; part < f->parts; part++, from += 2 * size) k += from[0], v += from[size];
			t->dk[to + i] = k, t->dv[to + i] = v;
		}
	}
}

// begun gives a job for q [batch, seq, heads, dim] and k and v [batch, keys, kv heads, dim], or NULL if there is no memory.
static flash *begun(buffer *const *in) {
	int64_t seq = in[0]->dims[1], heads = in[0]->dims[2], dim = in[0]->dims[3], kv_heads = in[1]->dims[2], blocks = parts(seq * heads / kv_heads, WIDTH);
	flash *f = malloc(sizeof *f);
	if (f != NULL)
		*f = (flash){.forward = FASTEST(forward), .pull = FASTEST(pull), .batch = in[0]->dims[0], .seq = seq, .keys = in[1]->dims[1], .kv_heads = kv_heads,
			.group = heads / kv_heads, .dim = dim, .wide = parts(dim, WIDTH) * WIDTH, .scale = 1 / sqrtf((float)dim), .q = in[0]->data, .k = in[1]->data,
			.v = in[2]->data, .blocks = blocks, .parts = at_most(blocks, PARTS)};
	return f;
}

static void forward(const call_frame *call, flash *f) {
	f->y = call->results.list[0]->data;
	f->job.piece = forward_piece, f->job.pieces = f->batch * f->kv_heads * f->blocks;
	ffi_run(call, &f->job, f->job.pieces - 1);
}

// prepared gives the job of a call with so many operands, of which q, k, v and ranges are the first, and so many results. It returns what is wrong with it, or NULL.
static ffi_error *prepared(const call_frame *call, int64_t operands, int64_t results, flash **made) {
	if (call->args.count != operands || call->results.count != results) return ffi_fail(call, "flash: takes q, k, v and ranges, to pull the result and its gradient, too");
	buffer *const *in = call->args.list;
	if (in[0]->rank != 4 || in[1]->rank != 4) return ffi_fail(call, "flash: q or k has not four axes");
	int64_t batch = in[0]->dims[0], seq = in[0]->dims[1], heads = in[0]->dims[2], dim = in[0]->dims[3], keys = in[1]->dims[1], kv_heads = in[1]->dims[2];
	const int64_t q[] = {batch, seq, heads, dim}, k[] = {batch, keys, kv_heads, dim}, ranges[] = {batch, seq, 2}, result[] = {batch, seq, heads * dim};
	int fits = kv_heads > 0 && heads % kv_heads == 0 && ffi_shaped(in[0], DTYPE_F32, 4, q) && ffi_shaped(in[1], DTYPE_F32, 4, k) &&
		ffi_shaped(in[2], DTYPE_F32, 4, k) && ffi_shaped(in[3], DTYPE_S32, 3, ranges);
	for (int64_t i = 4; i < operands; i++) fits = fits && ffi_shaped(in[i], DTYPE_F32, 3, result);
	if (!fits) return ffi_fail(call, "flash: the operands do not go together");
	if (dim > DESCANT_HEAD) return ffi_fail(call, "flash: a head has at most 256 values");
	const int32_t *range = in[3]->data;
	for (int64_t t = 0; t < batch * seq; t++)
		if (range[2 * t] < 0 || range[2 * t] >= range[2 * t + 1] || range[2 * t + 1] > keys) return ffi_fail(call, "flash: a range is empty, or not among the keys");
	if ((*made = begun(in)) == NULL) return ffi_fail(call, "flash: no memory");
	(*made)->ranges = range;
	return NULL;
}

ffi_error *ffi_flash(call_frame *call) {
	flash *f;
	ffi_error *wrong = prepared(call, 4, 1, &f);
	if (wrong == NULL) forward(call, f);
	return wrong;
}

const char *flash_cached(const call_frame *call) {
	buffer *const *in = call->args.list;
	if (in[0]->dims[3] > DESCANT_HEAD) return "attention: a head has at most 256 values";
	cache c = {.keys = in[3]->data, .values = in[4]->data, .filled = in[5]->data, .index = in[6]->data, .context = in[3]->dims[2], .window = *(const int32_t *)in[7]->data};
	flash *f = begun(in);
	if (f == NULL) return "attention: no memory";
	f->cache = &c; // as long as a piece is left
	forward(call, f);
	return NULL;
}

ffi_error *ffi_flash_pull(call_frame *call) {
	flash *f;
	ffi_error *wrong = prepared(call, 6, 3, &f);
	if (wrong != NULL) return wrong;
	buffer *const *out = call->results.list;
	int64_t pieces = f->batch * f->kv_heads * f->parts;
	float *sums = calloc(pieces * 2 * f->keys * f->wide, sizeof *sums);
	total *t = malloc(sizeof *t);
	if (sums == NULL || t == NULL) {
		free(sums), free(t), free(f);
		return ffi_fail(call, "flash: no memory");
	}
	f->out = call->args.list[4]->data, f->d = call->args.list[5]->data, f->y = out[0]->data, f->sums = sums;
	f->job.piece = pull_piece, f->job.pieces = pieces;
	*t = (total){.job = {.piece = total_piece, .pieces = f->keys}, .of = *f, .dk = out[1]->data, .dv = out[2]->data};
	ffi_run(call, &f->job, pieces - 1);
	ffi_run(call, &t->job, t->job.pieces / ALONE);
	free(sums);
	return NULL;
}
