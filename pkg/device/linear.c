// The sum of products of rows with plain matrices, over either of their axes: of bf16, or of the upper halves of f32: the same bits, but for halves the rows are
// f32, and there may be one more product, with a small matrix of f32: that of an adapter.

#include "ffi.h"
#include "kernels.h"
#include "parts.h"
#include "rows.h"

#include <stdlib.h>
#include <string.h>

// A block is WIDTH outputs. DEPTH pairs of inputs of them are a panel, which stays in the first cache while the rows of a turn go through it, at most ROWS in
// groups of at most TOGETHER. BLOCKS blocks at the most are computed side by side, so that the inputs of the rows come to the second cache once for all of them.
enum { WIDTH = 64, DEPTH = 48, ROWS = 384, TOGETHER = 6, BLOCKS = 4, TERMS = 8 };

// term is a product: of rows of so many words each, and a matrix with so many columns; in it an output is a row, or to pull, an input is. The rows are as they came, or
// of bf16, as rows_arrange writes them.
typedef struct {
	const uint32_t *x;
	int64_t words, columns;
	int arranged;
	const uint16_t *matrix;
	const float *small; // the matrix, if it is of f32
} term;

typedef struct linear {
	job job; // a piece is some blocks for the rows of a turn
	void (*blocks)(const struct linear *, int64_t block, int64_t end, int64_t turn);
	int64_t rows, turns, out, pieces, count; // pieces of a turn, and the number of terms
	int pull;
	term terms[TERMS];
	float *y;
	uint32_t x[]; // that of all terms, where it is arranged
} linear;

// group_begins is the first group of a turn, row_begins the first row of a group.
static inline int64_t group_begins(const linear *l, int64_t turn) { return part_begins(parts(l->rows, TOGETHER), l->turns, turn); }
static inline int64_t row_begins(const linear *l, int64_t group) { return part_begins(l->rows, parts(l->rows, TOGETHER), group); }

#define DOTS
#define EACH "linear_block.h"
#include "processors.h"

int descant_products(void) { return HAS_DOT ? DESCANT_PAIRS : HAS_AVX2 ? DESCANT_F32 : DESCANT_OTHER; }

// block_of is the first one of a piece. Larger pieces come first, so that all processors are busy to the end.
static int64_t block_of(const linear *l, int64_t piece) {
	int64_t blocks = l->out / WIDTH;
	return piece * (blocks / l->pieces) + at_most(piece, blocks % l->pieces);
}

static void piece(job *j, int64_t i) {
	const linear *l = (const linear *)j;
	int64_t part = i % l->pieces;
	l->blocks(l, block_of(l, part), block_of(l, part + 1), i / l->pieces);
}

// wrong tells what is wrong with the operands of so many terms, if anything is.
static const char *wrong(const buffers *args, const buffer *y, int64_t terms, int pull) {
	const buffer *first = args->list[0];
	if (terms > TERMS) return "linear: takes at most 8 products";
	for (int64_t t = 0; t < terms; t++) {
		const buffer *x = args->list[2 * t], *matrix = args->list[2 * t + 1];
		if (x->rank != 2 || x->dtype != first->dtype || (x->dtype != DTYPE_BF16 && x->dtype != DTYPE_F32)) return "linear: x is not a matrix of bf16 or f32";
		if (x->dims[0] != first->dims[0] || matrix->rank != 2 || matrix->dims[!pull] != x->dims[1]) return "linear: a matrix does not fit x, or x has not the rows of the first";
		if (!ffi_matrix(y, DTYPE_F32, x->dims[0], matrix->dims[pull])) return "linear: the result is not [rows, outputs] f32";
		if (t > 0 && t == terms - 1 && x->dtype == DTYPE_F32 && matrix->dtype == DTYPE_F32) continue; // the small one
		if (matrix->dtype != (x->dtype == DTYPE_F32 ? DTYPE_U16 : DTYPE_BF16) || x->dims[1] % 2 != 0 || matrix->dims[pull] % WIDTH != 0)
			return "linear: the matrix is not bf16, or for x in f32 u16, with an even number of inputs and a multiple of 64 outputs";
	}
	return NULL;
}

static ffi_error *compute(call_frame *call, int pull) {
	const buffers *args = &call->args;
	if (args->count < 2 || args->count % 2 != 0 || call->results.count != 1) return ffi_fail(call, "linear: takes pairs of x and a matrix, and gives one result");
	const buffer *y = call->results.list[0];
	int64_t count = args->count / 2;
	const char *why = wrong(args, y, count, pull);
	if (why != NULL) return ffi_fail(call, why);
	int pairs = descant_products() == DESCANT_PAIRS && args->list[0]->dtype == DTYPE_BF16;
	int64_t rows = y->dims[0], out = y->dims[1], inputs = 0;
	for (int64_t t = 0; t < count; t++) inputs += args->list[2 * t]->dims[1];
	int arranged = args->list[0]->dtype == DTYPE_BF16;
	linear *l = malloc(sizeof *l + (arranged ? rows * (pairs ? inputs / 2 : inputs) : 0) * sizeof *l->x);
	if (l == NULL) return ffi_fail(call, "linear: no memory");
	int64_t blocks = out / WIDTH, turns = parts(parts(rows, TOGETHER), ROWS / TOGETHER);
	// As many pieces for each processor.
	int64_t pieces = at_most(parts(parts(blocks, BLOCKS), ffi_processors()) * ffi_processors(), blocks);
	*l = (linear){.job = {.piece = piece, .pieces = turns * pieces}, .blocks = pairs ? FASTEST(blocks) : FASTEST_SUMS(blocks), .rows = rows, .turns = turns,
		.out = out, .pieces = pieces, .count = count, .pull = pull, .y = y->data};
	uint32_t *to = l->x;
	for (int64_t t = 0; t < count; t++) {
		const buffer *x = args->list[2 * t], *matrix = args->list[2 * t + 1];
		if (arranged && !rows_arrange(call, to, x, TOGETHER, pairs)) {
			free(l);
			return ffi_fail(call, "linear: no memory");
		}
		l->terms[t] = (term){.x = arranged ? to : x->data, .words = pairs ? x->dims[1] / 2 : x->dims[1], .columns = matrix->dims[1], .arranged = arranged,
			.matrix = matrix->data, .small = matrix->dtype == DTYPE_F32 ? matrix->data : NULL};
		if (arranged) to += rows * l->terms[t].words;
	}
	ffi_run(call, &l->job, l->job.pieces);
	return NULL;
}

ffi_error *ffi_linear(call_frame *call) { return compute(call, 0); }
ffi_error *ffi_pull(call_frame *call) { return compute(call, 1); }
