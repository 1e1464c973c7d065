// The product of rows with a plain matrix, over either of its axes: of bf16, or of the upper halves of f32: the same bits, but for halves the rows are f32.

#include "ffi.h"
#include "kernels.h"
#include "parts.h"
#include "rows.h"

#include <stdlib.h>
#include <string.h>

// A block is WIDTH outputs. DEPTH pairs of inputs of them are a panel, which stays in the first cache while the rows of a turn go through it, at most ROWS in
// groups of at most TOGETHER.
enum { WIDTH = 64, DEPTH = 64, ROWS = 252, TOGETHER = 6 };

#define DOTS
#define EACH "linear_block.h"
#include "processors.h"

typedef void block_function(float *y, int64_t out, const uint32_t *x, int64_t depth, const uint16_t *w, int64_t columns, int pull, int64_t rows, int64_t turn, int64_t turns);

int descant_products(void) { return HAS_DOT ? DESCANT_PAIRS : HAS_AVX2 ? DESCANT_F32 : DESCANT_OTHER; }

typedef struct {
	job job; // a piece is a block of outputs for the rows of a turn
	block_function *block;
	int64_t rows, turns, depth, out, columns, pull;
	const uint16_t *matrix;
	float *y;
	uint32_t x[];
} linear;

static void piece(job *j, int64_t i) {
	const linear *l = (const linear *)j;
	int64_t blocks = l->out / WIDTH, turn = i / blocks, o = i % blocks * WIDTH;
	l->block(l->y + o, l->out, l->x, l->depth, l->matrix + o * (l->pull ? 1 : l->columns), l->columns, l->pull, l->rows, turn, l->turns);
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
	linear *l = malloc(sizeof *l + rows * (pairs ? depth / 2 : depth) * sizeof *l->x);
	if (l == NULL || !rows_arrange(call, l->x, x, TOGETHER, pairs)) {
		free(l);
		return ffi_fail(call, "linear: no memory");
	}
	int64_t turns = parts(parts(rows, TOGETHER), ROWS / TOGETHER), pieces = turns * (out / WIDTH);
	*l = (linear){.job = {.piece = piece, .pieces = pieces}, .block = pairs ? FASTEST(block) : FASTEST_SUMS(block), .rows = rows, .turns = turns,
		.depth = depth, .out = out, .columns = columns, .pull = pull, .matrix = matrix->data, .y = y->data};
	ffi_run(call, &l->job, pieces);
	return NULL;
}

ffi_error *ffi_linear(call_frame *call) { return compute(call, 0); }
ffi_error *ffi_pull(call_frame *call) { return compute(call, 1); }
