// The product of rows with a packed matrix, of bf16 or of the upper halves of f32: the same bits, but for halves the rows are f32.

#include "packed.h"
#include "kernels.h"
#include "parts.h"
#include "rows.h"

#include <stdlib.h>
#include <string.h>

// WIDTH outputs lie together. DEPTH pairs of inputs of them are taken at a time: as much as stays in the first cache, and is fetched
// while those before are used. At most ROWS rows go through a matrix in a turn.
enum { WIDTH = 64, DEPTH = 64, ROWS = 132 };

#define EACH "packed_block.h"
#include "processors.h"

typedef void block_function(float *y, int64_t out, const float *x, const uint32_t *w, int64_t in, int64_t rows, int64_t turn, int64_t turns);

typedef struct {
	job job; // a piece is a block of outputs for the rows of a turn
	block_function *block;
	int64_t rows, turns, in, out, blocks;
	const uint32_t *matrix;
	float *y;
	float x[];
} packed;

static void piece(job *j, int64_t i) {
	const packed *w = (const packed *)j;
	int64_t turn = i / w->blocks, block = i % w->blocks; // all blocks for the same rows first: less of x is in use at a time
	w->block(w->y + block * WIDTH, w->out, w->x, w->matrix + block * (w->in / 2) * WIDTH, w->in, w->rows, turn, w->turns);
}

const char *packed_job(const call_frame *call, job **made, const buffer *x, const buffer *matrix, const buffer *y) {
	int halves = x->dtype == DTYPE_F32;
	if (x->rank != 2 || (x->dtype != DTYPE_BF16 && !halves)) return "packed product: x is not [rows, in] bf16 or f32";
	int64_t rows = x->dims[0], in = x->dims[1];
	if (matrix->rank != 3 || matrix->dtype != (halves ? DTYPE_U16 : DTYPE_BF16) || matrix->dims[1] != in || in % 2 != 0 || matrix->dims[2] != WIDTH)
		return "packed product: the matrix is not [out/64, in, 64] bf16, or for x in f32 u16, with an even number of inputs";
	int64_t blocks = matrix->dims[0];
	if (!ffi_matrix(y, DTYPE_F32, rows, blocks * WIDTH)) return "packed product: the result is not [rows, out] f32";
	const int64_t together = FASTEST(together);
	packed *w = malloc(sizeof *w + rows * in * sizeof *w->x);
	if (w == NULL || !rows_arrange(call, w->x, x, together, 0)) {
		free(w);
		return "packed product: no memory";
	}
	int64_t turns = parts(parts(rows, together), ROWS / together);
	*w = (packed){.job = {.piece = piece, .pieces = turns * blocks}, .block = FASTEST(block), .rows = rows, .turns = turns, .in = in, .out = blocks * WIDTH,
		.blocks = blocks, .matrix = matrix->data, .y = y->data};
	*made = &w->job;
	return NULL;
}

ffi_error *ffi_packed(call_frame *call) {
	job *j;
	if (call->args.count != 2 || call->results.count != 1) return ffi_fail(call, "packed product: takes x and the matrix, and gives one result");
	const char *wrong = packed_job(call, &j, call->args.list[0], call->args.list[1], call->results.list[0]);
	if (wrong != NULL) return ffi_fail(call, wrong);
	ffi_run(call, j, j->pieces);
	return NULL;
}
