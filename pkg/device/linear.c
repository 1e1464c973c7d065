// The product of rows with a plain matrix, over either of its axes: of bf16, or of the upper halves of f32: the same bits, but for halves the rows are f32.

#include "ffi.h"
#include "kernels.h"
#include "parts.h"
#include "rows.h"

#include <stdlib.h>
#include <string.h>

// A block is WIDTH outputs. DEPTH pairs of inputs of them are a panel, which stays in the first cache while at most ROWS rows go through it, TOGETHER at a time.
enum { WIDTH = 64, DEPTH = 64, ROWS = 256, TOGETHER = 6 };

#define DOTS
#define EACH "linear_block.h"
#include "processors.h"

typedef void block_function(float *y, int64_t out, const uint32_t *x, int64_t stride, int64_t depth, const uint16_t *w, int64_t columns, int64_t rows, int pull);

int descant_products(void) { return HAS_DOT ? DESCANT_PAIRS : HAS_AVX2 ? DESCANT_F32 : DESCANT_OTHER; }

typedef struct {
	job job; // a piece is a block of outputs for ROWS rows
	block_function *block;
	int64_t rows, depth, out, columns, stride, pull;
	const uint32_t *x;
	const uint16_t *matrix;
	float *y;
	float wide[]; // x in f32, if the block takes that
} linear;

static void piece(job *j, int64_t i) {
	const linear *l = (const linear *)j;
	int64_t blocks = l->out / WIDTH, row = i / blocks * ROWS, o = i % blocks * WIDTH;
	l->block(l->y + row * l->out + o, l->out, l->x + row * l->stride, l->stride, l->depth, l->matrix + o * (l->pull ? 1 : l->columns), l->columns,
		at_most(l->rows - row, ROWS), l->pull);
}

static ffi_error *compute(call_frame *call, int pull) {
	if (call->args.count != 2 || call->results.count != 1) return ffi_fail(call, "linear: takes x and the matrix, and gives one result");
	const buffer *x = call->args.list[0], *matrix = call->args.list[1], *y = call->results.list[0];
	int halves = x->dtype == DTYPE_F32;
	if (x->rank != 2 || (x->dtype != DTYPE_BF16 && !halves)) return ffi_fail(call, "linear: x is not a matrix of bf16 or f32");
	int64_t rows = x->dims[0], depth = x->dims[1];
	if (matrix->rank != 2 || matrix->dtype != (halves ? DTYPE_U16 : DTYPE_BF16) || matrix->dims[!pull] != depth || depth % 2 != 0 || matrix->dims[pull] % WIDTH != 0)
		return ffi_fail(call, "linear: the matrix is not bf16, or for x in f32 u16, with an even number of inputs and a multiple of 64 outputs");
	int64_t out = matrix->dims[pull], columns = matrix->dims[1];
	if (!ffi_matrix(y, DTYPE_F32, rows, out)) return ffi_fail(call, "linear: the result is not [rows, outputs] f32");
	int pairs = descant_products() == DESCANT_PAIRS && !halves;
	linear *l = malloc(sizeof *l + (pairs ? 0 : rows * rows_stride(depth) * sizeof *l->wide));
	if (l == NULL || (!pairs && !rows_widen(call, l->wide, x))) {
		free(l);
		return ffi_fail(call, "linear: no memory");
	}
	int64_t pieces = out / WIDTH * parts(rows, ROWS);
	*l = (linear){.job = {.piece = piece, .pieces = pieces}, .block = pairs ? FASTEST(block) : FASTEST_SUMS(block), .rows = rows, .depth = depth, .out = out,
		.columns = columns, .stride = pairs ? depth / 2 : rows_stride(depth), .x = pairs ? x->data : (const uint32_t *)l->wide, .matrix = matrix->data,
		.y = y->data, .pull = pull};
	ffi_run(call, &l->job, pieces);
	return NULL;
}

ffi_error *ffi_linear(call_frame *call) { return compute(call, 0); }
ffi_error *ffi_pull(call_frame *call) { return compute(call, 1); }
